"""conf/ of the packages that FACEGRAPH_PLUGINS names. Hydra imports this in every program: keep it light."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class PluginsSearchPath(SearchPathPlugin):
    """Appends them: an option of facegraph's own is never replaced by one of the same name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from facegraph.runs.plugins import conf_folders

        for folder in conf_folders():
            search_path.append("facegraph-plugins", f"file://{folder}")
