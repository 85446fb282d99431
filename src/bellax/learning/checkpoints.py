"""Checkpoints of a training by orbax: a run that was killed goes on where it was, and ends as if it had not been.

A checkpoint is written beside the last one and renamed, so that what is there is always whole. It says what was
trained, and by which version of bellax: one of another model, of other parameters, of another recipe or of another
version is refused.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bellax.errors import ModelError


class Checkpoint:
    """A folder with the last state of a training.

    Args:
        path: the folder; made where there is none.
        what: a description of what is trained.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = Path(path).absolute(), f"bellax {version('bellax')}: {what}"

    def save(self, step: int, state: Any) -> None:
        """Keeps a state, in place of the last one.

        Args:
            step: larger than that of the last one.
        """
        import orbax.checkpoint as ocp

        kept = [array for leaf in jax.tree.leaves(state) if (array := np.asarray(leaf)).size]  # orbax takes no others
        told = {"state": kept, "what": np.frombuffer(self._bytes, np.uint8)}
        with self._manager() as manager:
            if step in manager.all_steps():  # a run that was over, and is asked again
                return
            manager.save(step, args=ocp.args.StandardSave(told))
            manager.wait_until_finished()

    def load(self, like: Any) -> Any:
        """The last state, with the structure of `like`; None where there is none.

        Raises:
            ModelError: if it is of something else.
        """
        if not self.path.exists():
            return None
        with self._manager() as manager:
            if manager.latest_step() is None:
                return None
            told = manager.restore(manager.latest_step())
        if bytes(np.asarray(told["what"]).astype(np.uint8)) != self._bytes:
            raise ModelError(
                f"the checkpoint {str(self.path)!r} is of another model, of other parameters or of another solver, or "
                "it began with another warm_start=, or was written by another version of bellax. Give checkpoint= "
                "another folder, or remove this one."
            )
        leaves, structure = jax.tree.flatten(like)
        shapes, wanted = ([np.shape(leaf) for leaf in some if np.size(leaf)] for some in (told["state"], leaves))
        if shapes != wanted:
            raise ModelError(
                f"the checkpoint {str(self.path)!r} holds {len(shapes)} arrays, and not the {len(wanted)} of this "
                "training in their shapes: it was written by other code, or is damaged. Give checkpoint= another "
                "folder, or remove this one."
            )
        some = iter(told["state"])
        found = [jax.numpy.asarray(next(some), old.dtype) if old.size else old for old in leaves]
        return jax.tree.unflatten(structure, found)

    @property
    def _bytes(self) -> bytes:
        return self.what.encode()

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp.CheckpointManager(
            self.path, options=options, item_names=None, item_handlers=ocp.StandardCheckpointHandler()
        )
