"""Import errors of torch and torchvision: missing, and broken."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("adapter", ["torch", "torchvision"])
@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_a_missing_dependency_names_the_extra(adapter, missing):
    stderr = _failure(f"sys.modules[{missing!r}] = None", adapter)
    if (adapter, missing) == ("torch", "torchvision"):
        assert stderr == ""  # it only needs torch
    else:
        assert (
            f'MissingExtraError: {missing} is not installed: pip install "graypipe[torch]"'
            in stderr
        )


@pytest.mark.parametrize("adapter", ["torch", "torchvision"])
def test_a_broken_dependency_shows_its_own_error(adapter, tmp_path):
    (tmp_path / adapter).mkdir()
    (tmp_path / adapter / "__init__.py").write_text("import a_part_that_is_gone")
    stderr = _failure(f"sys.path.insert(0, {str(tmp_path)!r})", adapter)
    assert "No module named 'a_part_that_is_gone'" in stderr
    assert "MissingExtraError" not in stderr


def _failure(before, adapter):
    """Run ``before`` and import the adapter in a new interpreter; return its standard error."""
    code = f"import sys; {before}; import graypipe.adapters.{adapter}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) == bool(done.stderr), done.stderr
    return done.stderr
