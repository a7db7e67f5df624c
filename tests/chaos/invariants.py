"""What must hold, checked from outside: by listings, counts, messages, logs, and the client's memory."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import boto3

from ebbmark.errors import MalformedEvent
from ebbmark.topics import DEAD_LETTERS
from ingest.tokens import token_hash
from janitor.audit import KINDS
from tests.chaos import leftovers, messages
from tests.chaos.arena import Arena
from tests.chaos.hooks import Due
from tests.chaos.owners import NO_DATE
from tests.chaos.photos import CODES, MARKER, NAME
from tests.chaos.verdicts import Verdict, holds, lines, said_by, stays

_DRAINED_WITHIN = 30.0
_ALL_GONE_WITHIN = 200.0
_FAREWELL = 60.0
"""Seconds after the last expiry by which nobody's webhook is known any more."""
_AUDITED_WITHIN = 60.0
_OURS = ("ingest", "worker-1", "worker-2", "janitor", "prepare")
_RESULT = re.compile(r"jobs/([0-9a-f-]{36})/results/(\d+)/(\d+)")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{22}")


class Onlooker:
    """Remembers what may not change any more, and says what did."""

    def __init__(self, arena: Arena) -> None:
        """Look at this system, past its proxies."""
        self._arena = arena
        self._said = len(said_by(arena.logs, "janitor"))
        self._ended: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._etags: dict[str, str] = {}
        store = arena.direct.store
        self.s3: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
            "s3",
            endpoint_url=store.endpoint,
            region_name=store.region,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
        )

    def meanwhile(self) -> list[Verdict]:
        """Check what must hold at every moment; cheap enough for after each fault."""
        return [self._counters(), self._ended_stay(), self._results()]

    def finally_(self) -> list[Verdict]:
        """Check everything, once nothing is under way and all has expired; waits for that."""
        before = self.meanwhile()
        gone = self._all_gone()  # first: later checks read what is final
        return [
            self._kept(),
            *before,
            self._client("I5", "one bad photo fails only itself, with its own code"),
            self._announcements(),
            self._client("I7", "no watcher saw a version go backwards"),
            self._client("I8", "one Idempotency-Key, one job"),
            self._unaccepted(),
            self._buried(),
            gone,
            self.audits(),
            self.on_disk(),
            self._secrets(),
            self._claims(),
            self._letters(),
            self._drains(),
            self._memory(),
            self._told(),
            self._strayed(),
        ]

    # At every moment.

    def _counters(self) -> Verdict:
        rows = self._arena.ledger(
            "select j.id, j.state, j.total, j.done, j.failed, count(p.n),"
            " count(p.n) filter (where p.state = 'done'), count(p.n) filter (where p.state = 'failed')"
            " from jobs j left join photos p on p.job = j.id group by j.id"
        )
        wrong = [
            f"{job} ({state}): {done}+{failed} of {total}, rows {done_rows}+{failed_rows} of {count}"
            for job, state, total, done, failed, count, done_rows, failed_rows in rows
            if (done, failed) != (done_rows, failed_rows)
            or (total is not None and count != total)
            or (state == "complete" and done + failed != total)
        ]
        return Verdict(
            "I2", "counters equal the rows; complete means done + failed = total", len(rows), wrong
        )

    def _ended_stay(self) -> Verdict:
        rows = self._arena.ledger("select job, n, epoch, state, code, result_size, width, height from photos")
        now = {row[:2]: row[2:] for row in rows}
        wrong = [
            f"photo {photo}: {before} became {now.get(photo)}"
            for photo, before in self._ended.items()
            if not stays(before, now.get(photo))
        ]
        self._ended = {photo: row for photo, row in now.items() if row[1] in {"done", "failed"}}
        claim = "a photo that ended never changes, unless what failed is retried"
        return Verdict("I16", claim, len(self._ended), wrong)

    def _results(self) -> Verdict:
        """Compare listing and ledger for the jobs that are complete before and after the listing."""
        before = self._done()
        etags = {key: tag for key, tag in self._listing() if _RESULT.fullmatch(key)}
        after = self._done()
        stored: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
        for key in etags:
            if place := _RESULT.fullmatch(key):
                stored[place[1]].add((int(place[2]), int(place[3])))
        wrong = [
            f"{job}: {len(done)} done, {len(stored[job])} results"
            for job, done in before.items()
            if after.get(job) == done
            and not done <= stored[job] <= done | self._left(job, stored[job] - done)
        ]
        wrong += [
            f"{key}: its ETag changed"
            for key, tag in etags.items()
            if self._etags.setdefault(key, tag) != tag
        ]
        found = self._client("I3", "each done photo has one result, which never changes")
        return Verdict("I3", found.claim, found.looked_at + len(etags), [*wrong, *found.violations])

    def _left(self, job: str, more: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Return which of these a photo may have left that was cancelled while its result was stored."""
        if not more:
            return set()
        rows = self._arena.ledger("select n, epoch, code from photos where job = %s", job)
        now = {n: (epoch, code) for n, epoch, code in rows}
        return {
            (epoch, n)
            for epoch, n in more
            if n in now and (epoch < now[n][0] or now[n] == (epoch, "cancelled"))
        }

    def _done(self) -> dict[str, set[tuple[int, int]]]:
        rows = self._arena.ledger(
            "select j.id::text, p.epoch, p.n from jobs j"
            " left join photos p on p.job = j.id and p.state = 'done' where j.state = 'complete'"
        )
        done: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
        for job, epoch, n in rows:
            done[job] |= {(epoch, n)} if n is not None else set()
        return done

    def _listing(self) -> Iterable[tuple[str, str]]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self._arena.direct.store.bucket)
        return [(item["Key"], item["ETag"]) for page in pages for item in page.get("Contents", ())]

    # At the end.

    def _client(self, invariant: str, claim: str) -> Verdict:
        client = self._arena.client
        found = [what for against, what in client.violations if against == invariant]
        return Verdict(invariant, claim, len(client.log), found)

    def _kept(self) -> Verdict:
        """Every 202 ended as it must: seen by the client, or else told by the ledger."""
        client = self._arena.client
        found = [what for against, what in client.violations if against in {"I1", "client"}]
        found += [
            f"job {sent.number} ({sent.way}) was accepted and is {sent.state}"
            for sent in client.accepted
            if sent.state not in {"checked", "unread", "deleted"}
        ]
        deleted = sum(sent.way == "deleted" for sent in client.log)
        ((unfinished,),) = self._arena.ledger(
            "select count(*) from jobs where total is not null and completed_at is null"
            " and state not in ('expiring', 'expired')"
        )
        ((cut_short,),) = self._arena.ledger(
            "select count(*) from jobs where total is not null and completed_at is null"
            " and state in ('expiring', 'expired')"
        )
        if unfinished:
            found.append(f"{unfinished} sealed jobs never completed")
        # Sealed, then given up before the 202: the door could not publish the order. None is a client's.
        refused = cut_short - deleted
        allowed = set(CODES.values()) | {sent.code for sent in client.log if sent.code}
        allowed |= {NO_DATE, "cancelled"}  # of whom else they were, the client has said
        codes = Counter(
            dict(self._arena.ledger("select code, count(*) from photos where state = 'failed' group by code"))
        )
        found += [f"{count} photos failed as {code}" for code, count in codes.items() if code not in allowed]
        if refused > client.counts["answered 503"] + sum(
            n for what, n in client.counts.items() if what.startswith("no answer")
        ):
            found.append(f"{refused} sealed jobs were cut short, more than requests that failed")
        photos = sum(len(sent.photos) for sent in client.accepted)
        return Verdict("I1", "every job answered 202 completes, each photo as it must", photos, found)

    def _announcements(self) -> Verdict:
        arena = self._arena
        arena.witness_announcements()
        rows = arena.ledger(
            "select id::text, epoch, completed_at is not null, announced_epoch = epoch from jobs"
        )
        completed = {(job, epoch): bool(announced) for job, epoch, ended, announced in rows if ended}
        found = [
            f"{key}: {len(said)} different completions"
            for key, said in arena.announcements.items()
            if len(said) > 1
        ]
        # Of a job that was retried the ledger tells the last round alone.
        rounds = {job: epoch if ended else epoch - 1 for job, epoch, ended, _ in rows}
        found += [
            f"{(job, epoch)}: completed in Kafka alone"
            for job, epoch in arena.announcements
            if epoch > rounds.get(job, -1)
        ]
        if not arena.wiped:
            found += [
                f"{key}: noted as announced, and not in Kafka"
                for key, announced in completed.items()
                if announced and key not in arena.announcements
            ]
        silent = sum(not announced for announced in completed.values())
        if silent > sum(sent.way == "deleted" for sent in arena.client.log):
            found.append(f"{silent} completions were never announced, more than jobs were deleted")
        return Verdict(
            "I6", "one completion for each job and epoch, however often it is told", len(completed), found
        )

    def _unaccepted(self) -> Verdict:
        sent = [each for each in self._arena.client.log if each.state == "aborted"]
        ((late,),) = self._arena.ledger(
            "select count(*) from jobs"
            " where (state = 'open' and upload_deadline < now() - interval '20 s')"
            " or (state in ('rendering', 'complete') and unaccepted_until < now() - interval '20 s')"
        )
        found = [f"{late} jobs live past their upload deadline, and were not accepted"] if late else []
        answered = [token_hash(each.token) for each in self._arena.client.log if each.token]
        ((unsaid,),) = self._arena.ledger(
            "select count(*) from jobs where token_hash = any(%s) and unaccepted_until is not null", answered
        )
        found += [f"{unsaid} jobs were answered 202 and do not count as accepted"] if unsaid else []
        found += self._client("I9", "").violations
        return Verdict("I9", "an upload that got no 202 does not live beyond its deadline", len(sent), found)

    def _all_gone(self) -> Verdict:
        arena = self._arena

        def left() -> int:
            ((count,),) = arena.ledger("select count(*) from jobs where verified_at is null")
            return count

        arena.until(lambda: left() == 0, within=_ALL_GONE_WITHIN)
        found = [f"{left()} jobs are not expired and verified"] if left() else []
        found += [f"in the bucket: {key}" for key, _ in self._listing()]
        uploads = self.s3.list_multipart_uploads(Bucket=arena.direct.store.bucket).get("Uploads", ())
        found += [f"an unfinished upload: {upload['Key']}" for upload in uploads]
        rows = arena.ledger(
            "select id from jobs where state = 'expired' and (token_hash is not null or recipe is not null"
            " or idempotency_hash is not null or sealed_token is not null or fingerprint is not null)"
            " union all select job from photos join jobs on jobs.id = job"
            " where jobs.state = 'expired' and (name is not null or detail is not null or sha256 <> '')"
        )
        found += [f"{job}: the ledger still knows more than ids, counts and times" for (job,) in rows]
        hooked = "select count(*) from webhooks w join jobs j on j.id = w.job where j.state = 'expired'"
        if not arena.until(lambda: arena.ledger(hooked) == [(0,)], within=_FAREWELL):
            found.append(f"the ledger still knows {arena.ledger(hooked)[0][0]} webhooks of what has expired")
        ((jobs,),) = arena.ledger("select count(*) from jobs")
        return Verdict("I11", "expired: bucket empty, nothing personal in the ledger", jobs, found)

    def on_disk(self) -> Verdict:
        """Search every file for the marker of the photos, once the store has compacted its volumes.

        First it searches its volumes for what belongs to no file, as it does every hour.
        """
        stack = self._arena.system.stack
        leftovers.delete(stack)
        leftovers.compact(stack)
        files = [path for path in stack.data.rglob("*") if path.is_file()]
        found = [
            f"a photo's bytes in {path.relative_to(stack.data)}" for path in files if holds(path, MARKER)
        ]
        return Verdict("I11", "no file holds a byte of a photo", len(files), found)

    def _secrets(self) -> Verdict:
        """Search logs and messages for file names, tokens and photos."""
        arena = self._arena
        tokens = {sent.token.encode() for sent in arena.client.log if sent.token}
        looked, found = 0, list[str]()

        def search(where: str, text: bytes) -> None:
            if NAME.encode() in text:
                found.append(f"a file name in {where}")
            if MARKER in text:
                found.append(f"a photo's bytes in {where}")
            if tokens & set(_TOKEN.findall(text)):
                found.append(f"a token in {where}")

        for path in sorted(arena.logs.iterdir()):
            if path.name.partition(".")[0] in _OURS:
                for line in path.read_bytes().splitlines():
                    looked += 1
                    search(path.name, line)
        for raw in messages.everything(arena.direct.kafka):
            looked += 1
            search(raw.topic, b" ".join([raw.key or b"", raw.value, *(value for _, value in raw.headers)]))
        return Verdict("I17", "no file name, token or pixel in logs and messages", looked, found)

    def _claims(self) -> Verdict:
        rows = self._arena.ledger(
            "select job, n, fence from photos"
            " where code in ('poison', 'out-of-memory') and fence > 3 * (epoch + 1)"
        )
        found = [f"{job}/{n} was claimed {fence} times" for job, n, fence in rows]
        return Verdict(
            "I4",
            "what kills its child is claimed three times a round at most",
            len(self._arena.harmed),
            found,
        )

    def _letters(self) -> Verdict:
        reasons: Counter[str] = Counter()
        letters = messages.read(self._arena.direct.kafka, DEAD_LETTERS)
        for raw in letters:
            try:
                reasons[DEAD_LETTERS.decode(raw.value).reason] += 1
            except MalformedEvent as exc:
                reasons[str(exc)] += 1
        found = [
            f"{count} dead letters: {reason}"
            for reason, count in reasons.items()
            if reason not in self._arena.expected_letters
        ]
        return Verdict("I4", "no dead letters but those that were meant to be", len(letters), found)

    def _drains(self) -> Verdict:
        found = [
            f"{name} took {took:.1f} s and ended with {code}"
            for name, took, code in self._arena.drains
            if code != 0 or took > _DRAINED_WITHIN
        ]
        return Verdict("I20", "SIGTERM: gone within 30 s, exit code 0", len(self._arena.drains), found)

    def _buried(self) -> Verdict:
        """Everything that was accepted or deleted was asked for when its links were dead."""
        client = self._arena.client
        looked = client.bury()
        found = [what for against, what in client.violations if against == "I10"]
        known = sum(bool(sent.url) for sent in client.log)
        if looked < known:
            found.append(f"of {known - looked} jobs it could not be seen whether they are still served")
        return Verdict("I10", "what was deleted or has expired is not served", looked, found)

    def audits(self) -> Verdict:
        """All audits since this looks on, as the janitor told them, and one of a time when all is gone."""
        arena = self._arena
        ((now,),) = arena.ledger("select now()")
        last = "select objects, findings from audits where started_at > %s"
        arena.until(lambda: bool(arena.ledger(last, now)), within=_AUDITED_WITHIN)
        rows = arena.ledger(last, now)
        found = [] if rows else ["no audit came to its end after all had expired"]
        found += [
            f"the last audit saw {objects} objects, {wrong} of them wrong"
            for objects, wrong in rows
            if objects or wrong
        ]
        told = list(lines(said_by(arena.logs, "janitor")[self._said :]))
        audits = [line for line in told if line.get("event") == "audited"]
        named = [line for line in told if line.get("event") == "audit findings"]
        found += [
            f"{line['timestamp']}: {kind}: {line[kind]}, {line.get('jobs')}"
            for line in named
            for kind in KINDS
            if line.get(kind) and not (kind == "overdue" and arena.may_be_late(line["timestamp"]))
        ]
        if sum(line["findings"] for line in audits) and not named:
            found.append("audits counted findings that nobody named")
        return Verdict("I12", "no audit of the bucket finds anything", len(audits), found)

    def _memory(self) -> Verdict:
        memory = self._arena.memory
        claim = "ingest, workers and janitor hold 300 MiB more than at rest at most, their children aside"
        return Verdict("I14", claim, memory.looks, memory.beyond())

    def _told(self) -> Verdict:
        """Read what the receivers got; what was deleted at once need not have completed."""
        client = self._arena.client
        due = [
            Due(sent.hook, sent.job, len(sent.photos), sent.rounds)
            for sent in client.log
            if sent.hook is not None and sent.state in {"checked", "unread"}
        ]
        found = client.hooks.against(due)
        return Verdict(
            "I6", "every completion is told to its webhook, signed, and to no other", len(due), found
        )

    def _strayed(self) -> Verdict:
        client, hooks = self._arena.client, self._arena.client.hooks
        found = [*self._client("I19", "").violations, *hooks.strayed()]
        looked = hooks.redirects + client.counts["forbidden webhooks"]
        return Verdict(
            "I19", "no webhook follows a redirect or may point to a forbidden address", looked, found
        )
