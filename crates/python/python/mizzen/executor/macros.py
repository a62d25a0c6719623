"""``${head_node_ip_var}`` and friends: names that each executor replaces by its own.

.. code-block:: text

    f"$${ExecutorMacros.HEAD_NODE_IP_VAR}:29500" ── substitute ──▶ "$head_node_ip:29500"

The values are *names* of variables, so a text asks for a value by a dollar before the macro, written ``$$``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from mizzen.config import ConfigurableMixin

__all__ = ["ExecutorMacros"]

AnyRole = TypeVar("AnyRole")


@dataclass
class ExecutorMacros(ConfigurableMixin):
    """What an executor puts in the macros' places.

    Attributes:
        head_node_ip_var: the variable with the address of the first node.
        nproc_per_node_var: the variable with the number of processes a node.
        num_nodes_var: the variable with the number of nodes.
        node_rank_var: the variable with this node's number.
        het_group_host_var: the stem of the variables with the groups' hosts: ``<stem>_<index>``.
        ft_launcher_cfg_path_var: the variable with the path of the fault tolerance launcher's parameters.
    """

    HEAD_NODE_IP_VAR: ClassVar[str] = "${head_node_ip_var}"
    NPROC_PER_NODE_VAR: ClassVar[str] = "${nproc_per_node_var}"
    NUM_NODES_VAR: ClassVar[str] = "${num_nodes_var}"
    NODE_RANK_VAR: ClassVar[str] = "${node_rank_var}"
    FT_LAUNCHER_CFG_PATH_VAR: ClassVar[str] = "${ft_launcher_cfg_path_var}"

    head_node_ip_var: str
    nproc_per_node_var: str
    num_nodes_var: str
    node_rank_var: str
    het_group_host_var: str
    ft_launcher_cfg_path_var: str = "FAULT_TOL_CFG_PATH"

    @staticmethod
    def group_host(index: int) -> str:
        """Stands for the host of the group with this number.

        Unlike the constants it carries the dollar that asks for the variable's value.

        Args:
            index: the group's number, from 0.
        """
        return f"$$${{het_group_host_var}}_{index}"

    def apply(self, role: AnyRole) -> AnyRole:
        """Replaces the macros in the arguments and in the environment's values.

        Args:
            role: a :class:`~mizzen.executor.Role`, or TorchX's: anything with a list ``args`` and a dict ``env`` of texts.

        Returns:
            A changed copy; ``role`` itself stays as it is.
        """
        from copy import deepcopy

        applied: Any = deepcopy(role)
        applied.args = [self.substitute(argument) for argument in applied.args]
        applied.env = {name: self.substitute(value) for name, value in applied.env.items()}
        return applied  # type: ignore[no-any-return]

    def substitute(self, arg: str) -> str:
        """Replaces the macros in a text as ``string.Template.safe_substitute`` does: ``$$`` becomes ``$``, ``$name`` and
        ``${name}`` are replaced where the name is a macro's, everything else stays as it is.

        Args:
            arg: the text.
        """
        from string import Template

        return Template(arg).safe_substitute({one.name: getattr(self, one.name) for one in fields(self)})
