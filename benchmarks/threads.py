"""One thread each: for graypipe and for every peer, before and after they are imported."""

import os

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def pin_environment() -> None:
    """Set what libraries read when they are imported: call this before NumPy is."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every figure is a figure of one core
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = (
        "1"  # no look at the network in the middle of a measurement
    )
    os.environ["ALBUMENTATIONS_NO_TELEMETRY"] = "1"


def pin_libraries() -> None:
    """Set what only a call can set; TensorFlow refuses it once it has run an operation."""
    import cv2
    import torch

    from .tensorflow import tf

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
