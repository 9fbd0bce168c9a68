"""FSDP: networks, Adam's moments and averages cut into shares, one per process, and put together for files.

torch's second FSDP (``fully_shard``) cuts every tensor along its first axis into a DTensor. A layer is
gathered while it computes and given back afterwards, in the forward and the backward pass. Fabric's own
FSDP needs CUDA; this one also runs on processors (gloo), where the tests run it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.strategies.strategy import _BackwardSyncControl
from torch import Tensor, nn

from medfm.core.errors import TrainingError

_Module = TypeVar("_Module", bound=nn.Module)
# torchvision's picture networks keep their stages in a sequence of this name.
_STAGES = "features"


class ShardedStrategy(DDPStrategy):
    """Fabric's DDP for whole modules; those that :func:`sharded_copy` cut are left as they are."""

    def __init__(self) -> None:
        super().__init__(find_unused_parameters=True)
        self._backward_sync_control = _Synchronised(self._backward_sync_control)

    def module_to_device(self, module: nn.Module) -> None:
        """Shares are on their device already."""
        if not is_sharded(module):
            super().module_to_device(module)

    def setup_module(self, module: nn.Module) -> Any:
        """DDP around a whole module."""
        return module if is_sharded(module) else super().setup_module(module)

    def clip_gradients_norm(self, *args: Any, **kwargs: Any) -> Tensor:
        """As usual; the norm is that of the whole gradient, the same tensor in every process."""
        norm: Any = super().clip_gradients_norm(*args, **kwargs)
        whole: Tensor = norm.full_tensor() if _is_share(norm) else norm
        return whole


class _Synchronised(_BackwardSyncControl):
    """Shares of a gradient are summed after every batch: keeping the whole until the last would take its memory."""

    def __init__(self, of_whole: Any) -> None:
        self.of_whole = of_whole

    def no_backward_sync(self, module: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        """Nothing for a module in shares; DDP's for a whole one."""
        if is_sharded(module):
            return nullcontext()
        found: AbstractContextManager[Any] = self.of_whole.no_backward_sync(module, enabled)
        return found


def is_sharding(fabric: Fabric) -> bool:
    """Whether networks are to be cut into shares."""
    return isinstance(fabric.strategy, ShardedStrategy)


def is_sharded(module: nn.Module) -> bool:
    """Whether any parameter of `module` is here in part only."""
    return any(_is_share(parameter) for parameter in module.parameters())


def check_fsdp() -> None:
    """Refuse where torch is too old.

    Raises:
        TrainingError: There is no ``fully_shard``.
    """
    try:
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            f"FSDP needs torch 2.6 or newer; this is {torch.__version__}.",
            fix="install a newer torch, or --set machine.strategy=ddp",
        ) from error


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """The parts that are gathered one at a time: elements of the outermost lists of layers, where they have parameters."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList) or name == _STAGES:
            yield from (layer for layer in child if any(True for _ in layer.parameters()))  # type: ignore[attr-defined]
        else:
            yield from layers_of(child)


def sharded_copy(
    module: _Module, networks: tuple[str, ...], optimizer: torch.optim.Optimizer, fabric: Fabric
) -> _Module:
    """A copy of `module` on the device of this process, of which every process holds a share; collective.

    `module` itself stays whole, on the CPU: weights are written into it at the end.

    Args:
        module: With the weights to begin with; those of the first process count.
        networks: Names of the children that compute. Each is called by itself, or by its methods ``encode`` and ``decode``.
        optimizer: Over parameters of `module`; afterwards over those of the copy, its state cut likewise.
        fabric: Launched.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(fabric.device.type, (fabric.world_size,))
    live = copy.deepcopy(module)
    for name in networks:
        network = live.get_submodule(name)
        for layer in layers_of(network):
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        for method in ("encode", "decode"):
            if hasattr(network, method):
                register_fsdp_forward_method(network, method)
    live.to(fabric.device)
    _follow(optimizer, dict(module.named_parameters()), dict(live.named_parameters()))
    return live


def _follow(
    optimizer: torch.optim.Optimizer, before: Mapping[str, nn.Parameter], after: Mapping[str, nn.Parameter]
) -> None:
    """Let `optimizer` go on with other parameters of the same names."""
    name_of = {id(parameter): name for name, parameter in before.items()}
    held = dict(optimizer.state)
    optimizer.state.clear()
    for group in optimizer.param_groups:
        mine = group["params"]
        group["params"] = [after[name_of[id(parameter)]] for parameter in mine]
        for old, new in zip(mine, group["params"], strict=True):
            if old in held:
                optimizer.state[new] = {key: share_like(value, new, old.shape) for key, value in held[old].items()}


def share_like(value: Any, like: Tensor, shape: torch.Size | None = None) -> Any:
    """`value` cut as `like` is, where `like` is in shares and `value` a whole tensor of its shape; collective.

    Args:
        value: A tensor, or anything else, which is given back.
        like: A parameter.
        shape: The shape that `value` must have to be cut [that of `like`].
    """
    if not _is_share(like) or not isinstance(value, Tensor) or value.shape != (shape or like.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    cut: Any = like
    return distribute_tensor(value.to(cut.device), cut.device_mesh, cut.placements)


def whole(tree: Any, keep: bool = True) -> Any:
    """`tree` (dicts and lists) with every tensor in shares put together on the CPU; collective.

    Args:
        tree: Such as a state dict, the same keys in the same order in every process.
        keep: False in a process that only takes part: it gets ``None`` in place of such tensors.
    """
    if isinstance(tree, Mapping):
        return {key: whole(value, keep) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(whole(value, keep) for value in tree)
    if _is_share(tree):
        gathered = tree.full_tensor().detach()
        return gathered.cpu() if keep else None
    return tree


def _is_share(value: Any) -> bool:
    if type(value) in (Tensor, nn.Parameter) or not isinstance(value, Tensor):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)
