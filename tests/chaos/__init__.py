"""Seeded kills: the real system under load, its processes and servers killed at random and at named points.

The full run, about ten minutes; it prints its progress, then its result as one JSON object, and ends with 1 if anything
was lost, done twice or left over:

    python -P -m tests.chaos --seed 1 --kills 20 --result benchmarks/results/chaos-seed-1.json

`--kills` is how often each of these is killed: a projection worker, one of them while it fills a new generation, a
document worker, the API, PostgreSQL, Redis, and the named points `rows_written` (rows before checkpoint), `committed`
(commit before acknowledgement) and `appended` (append before answer). Besides, half as many projection workers and
document workers are stopped and woken, after longer than their leases or earlier; a quarter as often PostgreSQL and
Redis are restarted, and Redis is emptied.

All the while an operator has every read model rebuilt again and again, gives some rebuilds up and goes back after
others, and one more tenant sends every hostile text, body, batch, file and search of `benchmarks/hostile.py` in turn,
with texts of `--hostile` characters. The seed fixes what is done, in which order and after which pauses; the machine
decides what the system is at by then.

`test_smoke.py` runs the same with one fault of each kind and short texts.
"""
