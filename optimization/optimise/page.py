"""``optimisation.html``: what was searched, shrunk, gated and published, for somebody who must sign it off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from optimization.compress.gates import Verdict
from optimization.optimise.must_hold import time_text
from optimization.optimise.pictures import frontier, importances
from optimization.report.html import document, figure, p_text, percent, section, signed, table
from optimization.tune.frontier import MARGIN, SPEED_COST
from predictors.wavelet.spec import FeatureSpec

SIGNIFICANCE = 0.05


def render_page(report: Mapping[str, Any]) -> str:
    """The report as one HTML page; equal reports give equal pages."""
    title = f"Optimisation on {escape(report['data']['source'])}"
    return document(
        title,
        [
            f"<header><h1>{title}</h1>{_lead(report)}{_facts(report)}</header>",
            section("Figures that must hold", _must_hold(report["must_hold"])),
            section("Default against tuned", _studies(report)),
            section("What accuracy costs", _frontiers(report["studies"])),
            section("What mattered in the searches", _importances(report["studies"])),
            section("Before and after compression", _members(report["compressed"]["members"])),
            section("Gates", _gates(report)),
            section("Ensemble", _ensemble(report)),
            section("Lineage", _lineage(report)),
            section("Time", _time(report["budget"])),
            section("What these numbers do not say", _caveats()),
        ],
    )


def _lead(report: Mapping[str, Any]) -> str:
    held = report["must_hold"]
    met = sum(one["met"] for one in held)
    if report["published"]:
        store = escape(report["settings"]["store"])
        said = f"Release {report['published']} passed its gates and was published to {store}"
    else:
        said = "Nothing was published: " + escape("; ".join(report["refused"]))
    return f'<p class="lead">{said}. {met} of {len(held)} figures hold.</p>'


def _facts(report: Mapping[str, Any]) -> str:
    data, settings, budget = report["data"], report["settings"], report["budget"]
    symbols = ", ".join(name or "one series" for name in data["symbols"][:12])
    facts = {
        "Data": f"{data['bars']:,} bars of {escape(symbols)}; fingerprint {data['fingerprint'][:12]}",
        "Tuned on": f"bars before {escape(data['tuned_until'])}; the outer folds are all that follow",
        "Budget": f"{time_text(budget['budget_s'])}, and {time_text(budget['spent_s'])} were spent",
        "Machine": f"{settings['cores']} cores, {settings['jobs']} workers a study; studies in a {settings['storage']}",
        "Settings": f"proxy <code>{escape(settings['proxy'])}</code>, seed {settings['seed']}",
        "Libraries": escape(", ".join(f"{name} {number}" for name, number in report["libraries"].items())),
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items()) + "</dl>"


def _must_hold(held: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(one["what"]),
            f"<span class={'better' if one['met'] else 'worse'}>{'met' if one['met'] else 'not met'}</span>",
            escape(one["figure"]),
            escape(one["bound"]) + (f"<br><small>{escape(one['note'])}</small>" if one["note"] else ""),
        ]
        for one in held
    ]
    note = (
        "<p class=note>The reference architectures are an LSTM of 64 units and a Transformer of width 64 with two "
        "layers, float32, trained as the default members and walked over the outer folds. QLIKE beside them is that "
        "of the released member at the same origins. Where a figure is not met, the frontiers below show what the "
        "studies found instead.</p>"
    )
    return table("Met or not", ["figure", "verdict", "found", "bound"], rows, prose=True) + note


def _studies(report: Mapping[str, Any]) -> str:
    rows = []
    for kind, study in report["studies"].items():
        default, losses = study["losses"]["default"], study["losses"]
        for one in study["outer"]:
            p = one["p_less"]
            mark = "better" if p < SIGNIFICANCE else "worse" if p > 1.0 - SIGNIFICANCE else ""
            word = {"better": "significantly better", "worse": "significantly worse", "": "no significant difference"}
            same = one["default"] == one["tuned"]
            rows.append(
                [
                    kind,
                    f"{one['horizon']}",
                    "failed" if default is None else f"{default:.4f}",
                    f"{losses['chosen']:.4f}",
                    f"{one['default']:.4f}",
                    f"{one['tuned']:.4f}",
                    f"{one['tuned'] / one['default']:.4f}",
                    signed(one["t"]),
                    "the default was kept" if same else f"<span class={mark or 'note'}>{word[mark]}</span>",
                ]
            )
    head = ["study", "bars ahead", "inner default", "inner tuned", "outer default", "outer tuned", "÷", "DM t", ""]
    counts = [
        [
            kind,
            *(f"{study['trials'][name]:,}" for name in ("scored", "stopped", "failed", "lost")),
            str(len(study["provenance"]["folds"])),
            f"{study['budget_s']:.0f} s",
        ]
        for kind, study in report["studies"].items()
    ]
    trials = table("Trials", ["study", "scored", "stopped early", "failed", "lost", "inner folds", "budget"], counts)
    note = (
        "<p class=note>Inner: QLIKE relative to the linear backbone's, mean over the inner folds, what the search "
        "minimised (for features: relative to the default features). Outer: QLIKE on bars that no study saw, walked "
        "forward with a refit every 66 bars. DM t: Diebold-Mariano, negative favours the tuned settings; "
        f"significance one-sided at {percent(SIGNIFICANCE, 0)}. The outer folds are reported and never chosen by.</p>"
    )
    return table("QLIKE by study", head, rows) + note + f"<details><summary>Trials</summary>{trials}</details>"


def _frontiers(studies: Mapping[str, Any]) -> str:
    members = {kind: study for kind, study in studies.items() if study["frontier"]}
    rule = (
        "The rule: a candidate is eligible if it is no larger than the default and its folds show, at 95 %, that it "
        f"costs at most {percent(MARGIN)} of the default's loss (around the winner of a search of N trials at 5 % / N, "
        "for its luck); of the efficient ones whose loss is no higher than the default's the best bargain is chosen: a "
        f"tenth of the default's p50 is worth {percent(SPEED_COST, 2)} of its loss. Area: bytes. Latency is that of "
        "the exported model on one thread, in turns with the default's, with nothing else at work."
    )
    pictures = figure((frontier(kind, study) for kind, study in members.items()), rule)
    tables = "".join(
        f"<details><summary>All {len(study['frontier'])} candidates of {kind}</summary>{_points(kind, study)}</details>"
        for kind, study in members.items()
    )
    return pictures + tables


def _points(kind: str, study: Mapping[str, Any]) -> str:
    rows = []
    for point in sorted(study["frontier"], key=lambda one: one["latency"]["ratio"]):
        latency = point["latency"]
        state = "efficient" if point["efficient"] else "eligible" if point["eligible"] else "not eligible"
        rows.append(
            [
                str(point["trial"]),
                f"{point['loss']:.4f}",
                f"{latency['microseconds']:.1f}",
                f"{latency['ratio']:.3f} ± {latency['spread']:.3f}",
                f"{point['size_bytes']:,}",
                "chosen" if point["trial"] == study["chosen_trial"] else state,
            ]
        )
    head = ["trial", "QLIKE / backbone's", "p50 µs", "÷ default's", "bytes", "state"]
    return table(f"Candidates of {kind}", head, rows, marked=str(study["chosen_trial"]))


def _importances(studies: Mapping[str, Any]) -> str:
    enough = {kind: study for kind, study in studies.items() if study["importances"]}
    few = [kind for kind in studies if kind not in enough]
    said = f"<p class=note>Too few trials to tell: {', '.join(few)}.</p>" if few else ""
    if not enough:
        return said
    caption = "Share of each parameter in what separates the best trials from the rest, within this search."
    return figure((importances(kind, study) for kind, study in enough.items()), caption) + said


def _members(members: Mapping[str, Any]) -> str:
    parts = []
    for kind, member in members.items():
        first, last = member["steps"][0], member["steps"][-1]
        rows = [_step(step, step["step"]) for step in member["steps"]]
        rows += [_step(step, step["step"]) for step in member["refused"]]
        reference = member["reference"]
        if reference is not None:
            name = "reference" if reference["latency_us"] else "best-iteration JSON"
            latencies = _latencies(reference["latency_us"]) if reference["latency_us"] else ["–"] * 3
            rows.append([name, f"{reference['size_bytes']:,}", *latencies, "–", "–"])
        smaller = percent(1.0 - last["size_bytes"] / first["size_bytes"], 0)
        title = f"{kind}: {smaller} smaller than it was trained"
        head = ["after step", "bytes", "p50 µs at 1", "at 10", "at 100", "QLIKE at 1, 5 bars", "gates"]
        parts.append(table(title, head, rows, marked=last["step"]))
        parts += [
            f"<p class=note>{kind}: step {escape(step['step'])} was refused and left out: {_failed(step)}.</p>"
            for step in member["refused"]
        ]
    note = (
        "<p class=note>p50 on one thread, median of 15 rounds, (quartiles); the models of a table take turns call by "
        "call. QLIKE is out of fold: every fold was refitted, compressed with its own rows and walked forward. "
        "“unchanged”: the step found nothing to do.</p>"
    )
    return "".join(parts) + note


def _step(step: Mapping[str, Any], name: str) -> list[str]:
    word = "<span class=worse>refused</span>" if _failed(step) else "passed" if step["verdicts"] else "unchanged"
    word = "–" if step["step"] == "parent" else word
    losses = ", ".join(f"{loss:.4f}" for loss in step["qlike"])
    return [escape(name), f"{step['size_bytes']:,}", *_latencies(step["latency_us"]), losses, word]


def _failed(step: Mapping[str, Any]) -> str:
    return "; ".join(escape(str(one)) for one in map(_verdict, step["verdicts"]) if not one.passed)


def _latencies(by_batch: Mapping[str, Sequence[float]]) -> list[str]:
    return [f"{p50:,.0f} <small>({low:,.0f}–{high:,.0f})</small>" for p50, low, high in by_batch.values()]


def _gates(report: Mapping[str, Any]) -> str:
    limits = report["compressed"]["gates"]
    said = (
        f"<p>Numeric steps keep the RMSE against their input under {percent(limits['fidelity'])} of its deviation; "
        f"every step keeps out-of-fold QLIKE within {limits['loss_ratio']:g} × of its parent's and not significantly "
        f"worse (one-sided at {percent(limits['significance'], 0)}), its bytes within {limits['size_ratio']:g} × "
        f"and its p50 within {limits['latency_ratio']:g} × of its input's. The limits and verdicts are in every "
        "member's manifest; the golden windows were replayed on this machine's CPU before anything was published.</p>"
    )
    rows = []
    for kind, member in report["compressed"]["members"].items():
        for step in (*member["steps"], *member["refused"]):
            rows += [[kind, escape(step["step"]), *_cells(verdict)] for verdict in map(_verdict, step["verdicts"])]
    for name, verdicts in report["compressed"]["ensemble"]["verdicts"].items():
        if not name.startswith("without"):
            rows += [["ensemble", f"beside {escape(name)}", *_cells(one)] for one in map(_verdict, verdicts)]
    passed = sum("not passed" not in row[-1] for row in rows)
    shown = table("All verdicts", ["what", "step", "gate", "found", "limit", "verdict"], rows)
    return f"{said}<details><summary>{passed} of {len(rows)} verdicts passed: all in numbers</summary>{shown}</details>"


def _cells(verdict: Verdict) -> list[str]:
    word = "<span class=better>passed</span>" if verdict.passed else "<span class=worse>not passed</span>"
    limit = f"{'at least' if verdict.floor else 'at most'} {verdict.limit:g}"
    return [f"<code>{verdict.gate}</code>", f"{verdict.value:.4g}", limit, word]


def _verdict(record: Mapping[str, Any]) -> Verdict:
    return Verdict(**record)


def _ensemble(report: Mapping[str, Any]) -> str:
    ensemble, weights = report["compressed"]["ensemble"], report["lineage"]["weights"]
    whole = ensemble["qlike"]["ensemble"]
    rows = []
    for name, losses in ensemble["qlike"].items():
        ratios = ", ".join(f"{loss / own:.4f}" for loss, own in zip(losses, whole, strict=True))
        rows.append([escape(name), ", ".join(f"{loss:.4f}" for loss in losses), ratios, _compared(name, ensemble)])
    shared = ", ".join(f"{kind} {weight:.3f}" for kind, weight in weights.items())
    spare = sorted(set(weights) - set(ensemble["kept"]))
    said = (
        f"Without {' and '.join(spare)} the ensemble would lose nothing that its out-of-fold QLIKE shows "
        "(<code>compress --drop-members</code> acts on it; here every member stays)."
        if spare
        else "No member can be left out without a significant loss."
    )
    head = ["ensemble", "QLIKE at 1, 5 bars", "÷ ensemble", "Diebold-Mariano"]
    return f"<p>Weights: {shared}. {said}</p>" + table("Ensembles", head, rows, marked="ensemble")


def _compared(name: str, ensemble: Mapping[str, Any]) -> str:
    """Who is worse than whom, at both horizons; the p-values are those of the one that is to be no worse."""
    verdicts = ensemble["verdicts"].get(name)
    if verdicts is None:
        return "–"
    p = [one["value"] for one in verdicts if one["gate"].startswith("dm_p")]
    subject = name if name.startswith("without") else "the optimised ensemble"
    verdict = (
        "worse" if min(p) < SIGNIFICANCE else "better" if min(p) > 1.0 - SIGNIFICANCE else "not significantly worse"
    )
    return f"{escape(subject)} is {verdict} <small>(p of worse: {', '.join(p_text(value) for value in p)})</small>"


def _lineage(report: Mapping[str, Any]) -> str:
    line = report["lineage"]
    spec = FeatureSpec.from_json(line["spec"])
    members = "".join(f"<li>{_member(member)}</li>" for member in line["members"])
    return (
        f"<ul><li>release <code>{line['release']}</code>, of bars <code>{line['data_fingerprint'][:12]}</code>, "
        f"features <code>{spec.hash[:12]}</code>: {spec.filter}, {spec.levels} levels, windows of {spec.window_bars} "
        f"bars, groups {', '.join(spec.groups)}<ul>{members}</ul></li></ul>"
        "<p class=note>The same is in the manifests: <code>wavecast store show RELEASE</code>.</p>"
    )


def _member(member: Mapping[str, Any]) -> str:
    own = (
        f"{member['kind']} <code>{member['version']}</code>, {member['bytes']:,} bytes, {member['gates']} gate verdicts"
    )
    parent = member["parent"]
    came = "" if parent is None else f"<li>from <code>{parent['version']}</code>, {parent['bytes']:,} bytes</li>"
    study = member["study"]
    if study is not None:
        came += (
            f"<li>settings of study <code>{escape(study['study'])}</code>, trial {study['trial']}, frontier trial "
            f"{study['frontier_trial']}, on bars <code>{study['data_fingerprint'][:12]}</code></li>"
        )
    return f"{own}<ul>{came}</ul>"


def _time(budget: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{seconds:.0f} s", percent(seconds / budget["spent_s"], 0)]
        for name, seconds in budget["stages_s"].items()
    ]
    rows.append(["all", f"{budget['spent_s']:.0f} s", percent(1.0, 0)])
    note = (
        f"<p class=note>{percent(budget['reserve'], 0)} of the budget are held back for training, compression and the "
        "release, which cannot be cut; the studies share the rest, and what one leaves over the next ones have.</p>"
    )
    return table("Seconds by stage", ["stage", "took", "share"], rows, marked="all") + note


def _caveats() -> str:
    caveats = [
        "The best of many trials is partly the luckiest; the outer folds, which no trial saw, are the honest figure.",
        "Gains of tuning are small beside what the linear backbone does, and often not significant.",
        "Latencies are of the model alone, on this machine; a server adds its own.",
        "The reference architectures were trained as the default members are, and not tuned themselves.",
    ]
    return "<ul>" + "".join(f"<li>{caveat}</li>" for caveat in caveats) + "</ul>"
