from pathlib import Path

from setuptools import find_packages, setup

_ITK = ["SimpleITK>=2.4"]
_NOTEBOOKS = ["ipykernel>=6.29", "jupytext>=1.17", "nbclient>=0.10", "nbformat>=5.10"]
_DICOM = [
    "highdicom>=0.24",
    "pylibjpeg>=2.0",
    "pylibjpeg-openjpeg>=2.3",
    "python-gdcm>=3.0.24",
]

setup(
    name="medssl_jax",
    version="0.1.0",
    description="Self-supervised pretraining for 2D and 3D medical images in JAX.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["medssl_jax", "medssl_jax.*"]),
    package_data={"medssl_jax.report": ["*.jinja"]},
    install_requires=[
        "absl-py>=2.1",
        "faster-coco-eval>=1.7",
        "filelock>=3.16",
        "flatbuffers>=24.3",
        "flax>=0.12",
        "grain>=0.2.15",
        "jax>=0.9",
        "jaxtyping>=0.3",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "ml-collections>=1.1",
        "nibabel>=5.3",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "pillow>=11.0",
        "psutil>=6.0",
        "pydantic>=2.9",
        "pydicom>=3.0",
        "safetensors>=0.5",
        "scikit-learn>=1.6",
        "scipy>=1.15",
        "tensorboardX>=2.6",
        "tensorflow-datasets>=4.9.9",
        "threadpoolctl>=3.5",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": [
            "beartype>=0.20",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.14",
            *_ITK,
            *_DICOM,
            *_NOTEBOOKS,
        ],
        "notebooks": _NOTEBOOKS,
        "beam": ["apache-beam>=2.77"],
        "dicom": _DICOM,
        "itk": _ITK,
        "bench": ["monai>=1.5", "timm>=1.0", "torch>=2.6", "torchvision>=0.21"],
        "docs": ["furo>=2025.7", "myst-nb>=1.3", "sphinx>=8.2"],
        "gpu": ["jax[cuda12]>=0.9"],
        "tpu": ["jax[tpu]>=0.9"],
    },
)
