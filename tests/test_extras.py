"""Optional dependencies: a missing one names its extra, a broken one shows its own error."""

import pytest

import graypipe as gp
from graypipe.extras import require_extra


def test_a_missing_dependency_names_the_extra_that_brings_it():
    message = r'missing_here is not installed: pip install "graypipe\[io\]"'
    with (
        pytest.raises(gp.MissingExtraError, match=message),
        require_extra("io", "missing_here"),
    ):
        import missing_here  # noqa: F401


def test_a_broken_dependency_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_here.py").write_text("import missing_here")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ModuleNotFoundError, match="missing_here") as raised,
        require_extra("io", "broken_here"),
    ):
        import broken_here  # noqa: F401
    assert not isinstance(raised.value, gp.MissingExtraError)
