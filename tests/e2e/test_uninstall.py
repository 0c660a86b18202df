"""`helm uninstall` leaves nothing behind but what it did not make."""

from __future__ import annotations

from chart import NAME, Chart
from cluster import Cluster, until

OURS = {"secret/models-s3", "secret/wavecast-keys", "secret/wavecast-test-key"}


def everything(cluster: Cluster) -> set[str]:
    """Every object of the namespace, of every kind that can be listed; Kubernetes' own apart."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "leases.", "endpoints"))]
    found = cluster.kubectl("get", ",".join(kinds), "-o", "name").split()
    return set(found) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def test_uninstalling_leaves_nothing_behind(chart: Chart) -> None:
    chart.settle()
    cluster = chart.cluster
    assert any(name.startswith("inferenceservice") for name in everything(cluster))
    cluster.helm("uninstall", NAME, "--wait")
    until(f"nothing of the chart is left, but: {everything(cluster) - OURS}", lambda: everything(cluster) <= OURS, 60)
