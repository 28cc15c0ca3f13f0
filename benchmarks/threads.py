"""Limits graypipe and every peer to one thread, before and after they are imported."""

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
    """Set the variables that libraries read on import; call this before importing NumPy."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every figure is that of one core
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Without these, both libraries named albumentations use the network.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ["ALBUMENTATIONS_NO_TELEMETRY"] = "1"


def pin_libraries() -> None:
    """Set the limits that need a call; TensorFlow refuses them after its first operation."""
    import cv2
    import torch

    from .tensorflow import tf

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
