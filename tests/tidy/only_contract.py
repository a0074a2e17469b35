"""A contract for import-linter: some modules reach the standard library, and of third parties only those named."""

from __future__ import annotations

import sys
from typing import Any, cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules
from importlinter.domain.imports import ModuleExpression


class OnlyContract(Contract):
    """What `source_modules` reach, themselves or through others, is the standard library or in `allowed`."""

    type_name = "only"

    source_modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Each chain of imports that ends in a third party."""
        allowed, sources = cast("set[str]", self.allowed), cast("set[ModuleExpression]", self.source_modules)
        known = sys.stdlib_module_names | allowed | {graph_root(graph)}
        chains: list[tuple[str, ...]] = []
        for module in sorted(module_expressions_to_modules(graph, sources), key=str):
            reached = graph.find_upstream_modules(module.name, as_package=True)
            for foreign in sorted(name for name in reached if name.partition(".")[0] not in known):
                found = graph.find_shortest_chain(module.name, foreign, as_packages=True)
                chains.append(tuple(found or (module.name, foreign)))
        return ContractCheck(kept=not chains, metadata={"chains": chains})

    def render_broken_contract(self, check: Any) -> None:
        """One line a chain, from our module to the third party."""
        for chain in check.metadata["chains"]:
            output.print_error(" -> ".join(chain))


def graph_root(graph: ImportGraph) -> str:
    """The package that the graph was built for."""
    return min((name for name in graph.modules if not graph.is_module_squashed(name)), key=len)
