"""Grafana's dashboards as code: a module is a page; `python -m observability.dashboards` writes them."""
