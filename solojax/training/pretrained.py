"""The variables that a training begins with: fresh, of a file of weights, or of another run."""

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.convert import state_dict
from solojax.models import detector
from solojax.training import checkpoint
from solojax.types import InputError


def start_variables(config: config_lib.Config, workdir: Path) -> dict[str, Any]:
    """Fresh variables, or what ``training.pretrained`` says; process 0's are everybody's.

    A run that goes on has its own, and no need of the file that it began with.

    Raises:
      InputError: there are no such weights, or they do not fit the model.
    """
    training, key = config.training, jax.random.key(config.training.seed)
    draw = parallel.jit_once(detector.init_variables, static_argnums=0)
    variables = draw(config.model, key)
    begins = processes.is_first() and not checkpoint.steps_in(workdir)
    if not training.pretrained or not begins:
        return variables
    path = Path(training.pretrained)
    if not path.is_dir():
        names = detector.state_dict_names(config.model)
        return state_dict.load_backbone(read_weights(training.pretrained), variables, names)
    found, arrays = checkpoint.read_arrays(path)
    where = f"training.pretrained={path}, checkpoint {found},"
    if training.reset_classes:
        arrays, fresh = _without_classes(arrays, variables, config.model)
        print(f"new for {len(config.data.categories)} classes: {', '.join(fresh) or 'nothing'}")
    remedy = "if only the classes differ, set training.reset_classes=True"
    return checkpoint.fill(variables, arrays, where, remedy)


def _without_classes(
    arrays: dict[str, np.ndarray], variables: dict[str, Any], model: Any
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Puts fresh arrays where those of a run follow another number of classes; says which."""
    more = model.clone(head=model.head.clone(num_classes=model.head.num_classes + 1))
    other = checkpoint.by_name(detector.variable_shapes(more))
    fresh = {
        name: np.asarray(array)
        for name, array in checkpoint.by_name(variables).items()
        if (name not in other or array.shape != other[name].shape)
        and (name in arrays and array.shape != arrays[name].shape)
    }
    return arrays | fresh, sorted(fresh)


def read_weights(path: str) -> dict[str, np.ndarray]:
    """A ``.npz`` of arrays; anything that would have to be unpickled is refused."""
    if not Path(path).is_file():
        raise InputError(f"training.pretrained={path}: no such file")
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle, and say to read it as one
        raise InputError(f"training.pretrained={path} is not an .npz of arrays, as np.savez writes")
    try:
        with np.load(path, allow_pickle=False) as weights:
            arrays = dict(weights)
        if strange := [name for name, x in arrays.items() if not isinstance(x, np.ndarray)]:
            raise ValueError(f"{strange[0]} in it is none")
        if wild := [name for name, x in arrays.items() if not _is_finite(x)]:
            raise ValueError(f"{wild[0]} in it has numbers that are not finite")
        return arrays
    except ValueError as error:
        said = "it has objects that are no arrays" if "pickle" in str(error) else str(error)
        raise InputError(f"training.pretrained={path} is not an .npz of arrays: {said}") from error
    except (TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"training.pretrained={path} is not an .npz of arrays: {error}") from error


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
