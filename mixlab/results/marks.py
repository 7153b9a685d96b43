"""Every task metric as a SQL view over raw log-likelihoods: definitions of eval/scoring.py, once more, in SQL.

`choice`: one row a choice; `item_mark`: one row an item, all metrics; `task_mark`: one row a run, task, step, metric.
A metric of an item with a log-likelihood that is NULL (not finite) is NULL, and so is every mean over such an item.
Ties share their credit. Units: nats (ll), bits per byte (gold_bpb). Reads nothing itself.
"""

from collections.abc import Mapping

TIE = 1e-12
"""As in eval/scoring.py."""
KEYS = "run_id, step, task, item, suite, suite_hash, prompt_hash, tokenizer_hash"
LENGTHS: Mapping[str, str] = {"": "1", "_char": "n_char", "_byte": "n_byte", "_token": "n_token"}
"""Suffix of a metric -> what a log-likelihood is divided by."""
ANSWERS = ("exact_match", "prefix_match", "f1", "rouge_l")
"""Marks of a written answer, as eval/answers.py gave them; NULL where none was written."""
METRICS = (
    *(f"acc{s}" for s in LENGTHS),
    "acc_pmi",
    *(f"{m}{s}" for m in ("correct_prob", "norm_correct_prob", "margin", "total_prob") for s in LENGTHS),
    *("gold_bpb", "brier", "exact", *ANSWERS, "confidence", "is_right"),  # the last two are for ECE alone
)
CHOICE = f"""SELECT {KEYS}, tokens, time_utc, cluster, gold, truncated, len(logliks) AS k,
       unnest(range(len(logliks))) AS choice, unnest(logliks) AS ll, unnest(n_tokens) AS n_token,
       unnest(n_chars) AS n_char, unnest(n_bytes) AS n_byte, unnest(greedy) AS is_greedy, unnest(least) AS least,
       unnest(coalesce(alone, list_transform(logliks, lambda x: NULL::DOUBLE))) AS ll_alone, {", ".join(ANSWERS)}
FROM (FROM item QUALIFY row_number() OVER (PARTITION BY {KEYS} ORDER BY time_utc DESC) = 1)"""


def _credit(score: str) -> str:
    """1/k of the k choices at the top if the gold one is among them."""
    tied = f"abs({score} - top{score}) <= {TIE} * greatest(abs({score}), abs(top{score}))"
    return f"CASE WHEN bool_or(is_gold AND {tied}) THEN 1.0 / count(*) FILTER (WHERE {tied}) ELSE 0 END"


def _item_mark() -> str:
    scores = [f"ll / {length} AS s{suffix}" for suffix, length in LENGTHS.items()]
    scores += ["ll - ll_alone AS s_pmi"]
    tops = [f"max(s{s}) OVER (PARTITION BY {KEYS}) AS tops{s}" for s in (*LENGTHS, "_pmi")]
    told = [f"CASE WHEN k > 1 THEN {_credit(f's{s}')} END AS acc{s}" for s in LENGTHS]
    told.append(f"CASE WHEN k > 1 AND count(s_pmi) = k THEN {_credit('s_pmi')} END AS acc_pmi")
    for s in LENGTHS:
        gold, total = f"max(exp(s{s})) FILTER (WHERE is_gold)", f"sum(exp(s{s}))"
        wrong = f"coalesce(max(exp(s{s})) FILTER (WHERE NOT is_gold), 0)"
        told += [
            f"{gold} AS correct_prob{s}",
            f"CASE WHEN k > 1 THEN max(exp(s{s} - tops{s})) FILTER (WHERE is_gold) / sum(exp(s{s} - tops{s})) END "
            f"AS norm_correct_prob{s}",
            f"CASE WHEN k > 1 THEN {gold} - {wrong} END AS margin{s}",
            f"CASE WHEN k > 1 THEN {total} END AS total_prob{s}",
        ]
    told += [
        "max(-ll / (ln(2) * n_byte)) FILTER (WHERE is_gold) AS gold_bpb",
        "CASE WHEN k > 1 THEN sum((p - is_gold::INT) ** 2) END AS brier",
        "CASE WHEN k = 1 THEN max(is_greedy::INT)::DOUBLE END AS exact",
        *(f"max({mark}) AS {mark}" for mark in ANSWERS),
        "CASE WHEN k = 1 THEN exp(max(least)) ELSE max(exp(s_token)) / sum(exp(s_token)) END AS confidence",
        f"CASE WHEN k = 1 THEN max(is_greedy::INT)::DOUBLE ELSE {_credit('s_token')} END AS is_right",
    ]
    whole = [f"CASE WHEN whole THEN {m} END AS {m}" for m in METRICS]
    return f"""WITH a AS (SELECT *, choice = gold AS is_gold, {", ".join(scores)} FROM choice),
        b AS (SELECT *, {", ".join(tops)} FROM a),
        c AS (SELECT *, exp(s - tops) AS e FROM b),
        d AS (SELECT *, e / sum(e) OVER (PARTITION BY {KEYS}) AS p FROM c),
        f AS (SELECT {KEYS}, tokens, time_utc, cluster, gold, truncated, k, coalesce(bool_and(isfinite(ll)), false)
              AND count(ll) = k AS whole, {", ".join(told)}
              FROM d GROUP BY {KEYS}, tokens, time_utc, cluster, gold, truncated, k)
        SELECT {KEYS}, tokens, time_utc, cluster, gold, truncated, k, {", ".join(whole)} FROM f"""


TASK_MARK = f"""WITH long AS (
    SELECT {KEYS}, tokens, metric, value, whole
    FROM (SELECT *, gold_bpb IS NOT NULL AS whole FROM item_mark)
    UNPIVOT INCLUDE NULLS (value FOR metric IN ({", ".join(METRICS[:-2])})))
    SELECT run_id, step, tokens, task, metric, suite, suite_hash, prompt_hash, tokenizer_hash, count(*) AS n_items,
           CASE WHEN bool_and(whole) THEN avg(value) END AS value,
           CASE WHEN bool_and(whole) THEN 'scored' ELSE 'diverged' END AS status
    FROM long GROUP BY ALL HAVING count(value) > 0 OR NOT bool_and(whole)"""
CALIBRATION = """SELECT run_id, step, task, suite_hash, prompt_hash, tokenizer_hash,
       CASE WHEN bool_and(n_whole = n) THEN sum(abs(right_sum - (bucket + 0.5) / 10 * n)) / sum(n) END AS ece
    FROM (SELECT run_id, step, task, suite_hash, prompt_hash, tokenizer_hash,
                 least(floor(confidence * 10), 9) AS bucket, sum(is_right) AS right_sum, count(*) AS n,
                 count(confidence) AS n_whole
          FROM item_mark GROUP BY ALL) GROUP BY ALL"""
FLOOR = """SELECT run_id, task, metric, value, 'untrained' AS floor FROM score
        WHERE step = 0 AND NOT starts_with(task, 'bpb/')
    UNION ALL SELECT run_id, task, metric, f.value::DOUBLE AS value, f.key AS floor
        FROM (SELECT DISTINCT run_id, task, metric, detail FROM score WHERE starts_with(metric, 'acc')),
             json_each(detail, '$.floors') AS f"""
DOMAIN_BPB = """SELECT run_id, step, tokens, time_utc, is_final, evals_key,
       CASE WHEN starts_with(task, 'bpb/') THEN task[5:] ELSE task END AS domain,
       NOT starts_with(task, 'bpb/') AS is_external,
       nats, n_bytes, n_tokens, n_items AS n_docs, nats / (ln(2) * n_bytes) AS bpb
    FROM score WHERE metric = 'bpb' AND task <> 'bpb/macro'"""
RUN_BPB = """SELECT run_id, step, tokens, is_final, evals_key,
       CASE WHEN bool_and(bpb IS NOT NULL) THEN avg(bpb) END AS macro,
       CASE WHEN bool_and(bpb IS NOT NULL) AND sum(coalesce(weight_frac, 0)) > 0
            THEN sum(bpb * coalesce(weight_frac, 0)) / sum(coalesce(weight_frac, 0)) END AS mix_weighted,
       CASE WHEN bool_and(bpb IS NOT NULL) THEN max(bpb) END AS worst,
       CASE WHEN bool_and(bpb IS NOT NULL) THEN first(domain ORDER BY bpb DESC, domain) END AS worst_domain
    FROM (FROM domain_bpb WHERE NOT is_external
          QUALIFY row_number() OVER (PARTITION BY run_id, step, is_final, evals_key, domain ORDER BY time_utc DESC) = 1)
    LEFT JOIN (SELECT run_id, source AS domain, weight_frac FROM mix_component) USING (run_id, domain)
    GROUP BY run_id, step, tokens, is_final, evals_key"""
MARKS: Mapping[str, str] = {
    "domain_bpb": DOMAIN_BPB,
    "run_bpb": RUN_BPB,
    "choice": CHOICE,
    "item_mark": _item_mark(),
    "task_mark": TASK_MARK,
    "task_calibration": CALIBRATION,
    "score_floor": FLOOR,
}
"""View -> its SELECT, in the order to make them."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "domain_bpb": ("score",),
    "run_bpb": ("domain_bpb", "mix_component"),
    "choice": ("item",),
    "item_mark": ("choice",),
    "task_mark": ("item_mark",),
    "task_calibration": ("item_mark",),
    "score_floor": ("score",),
}
"""View -> the tables and views before it that it is made of."""
