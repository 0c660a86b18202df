"""Routes read: whether the gateway took them, and the shares that they give."""

from __future__ import annotations

import re

from optimization.rollout.cluster import Json
from optimization.rollout.services import condition
from optimization.rollout.state import Traffic

_RELEASE = re.compile(r"(?:^|-)([0-9a-f]{12})(?:-|$)")


def route_problem(route: Json) -> str | None:
    """Why a gateway does not follow this route as it is now; ``None`` if all of its gateways do."""
    name = f"{route['kind']} {route['metadata']['name']}"
    parents = (route.get("status") or {}).get("parents") or []
    if not parents:
        return f"{name} is not taken by any gateway yet"
    for parent in parents:
        for kind in ("Accepted", "ResolvedRefs"):
            found = condition({"status": parent}, kind)
            if found.get("status") != "True":
                return f"{name} is not {kind}: {found.get('message') or found.get('reason') or 'no condition yet'}"
            if found.get("observedGeneration", 0) < route["metadata"].get("generation", 0):
                return f"{name}: the gateway has not seen its last change yet"
    return None


def shares(route: Json) -> dict[str, float]:
    """Percent of the requests without the header that each release gets."""
    for rule in route["spec"].get("rules", []):
        if any(match.get("headers") for match in rule.get("matches", [])):
            continue
        weights: dict[str, int] = {}
        for backend in rule.get("backendRefs", []):
            release = _RELEASE.search(backend["name"])
            if release:
                weights[release[1]] = weights.get(release[1], 0) + backend.get("weight", 1)
        total = sum(weights.values())
        if total:
            return {release: 100.0 * weight / total for release, weight in weights.items()}
    return {}


def split_problem(routes: list[Json], traffic: Traffic) -> str | None:
    """Why requests are not split as ``traffic`` says; ``None`` if they are."""
    if not traffic.stable:
        return None
    if not routes:
        return "the chart release has no HTTPRoute"
    wanted = {traffic.stable: 100 - traffic.percent, traffic.canary: traffic.percent}
    expected = {release: float(share) for release, share in wanted.items() if release and share}
    for route in routes:
        problem = route_problem(route)
        if problem:
            return problem
        given = {release: share for release, share in shares(route).items() if share}
        if given != expected:
            told = ", ".join(f"{release} {share:g} %" for release, share in given.items()) or "nobody"
            return f"{route['kind']} {route['metadata']['name']} gives the requests to {told}, not to {traffic}"
    return None
