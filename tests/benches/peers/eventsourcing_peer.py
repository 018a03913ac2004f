"""eventsourcing, the event store of Python, on PostgreSQL or SQLite. How the benches talk to it is said in src/lib.rs."""

import itertools
import json
import sys
import threading
import time
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

PAGE = 1_000


def recorder(place, threads):
    """The recorder of an application's events, its table made anew."""
    url = urlsplit(place)
    if url.scheme in ("postgres", "postgresql"):
        host, _, port = unquote(url.netloc.rpartition("@")[2]).partition(":")
        recorder = PostgresApplicationRecorder(
            PostgresDatastore(
                dbname=url.path.lstrip("/"),
                host=host,
                port=port or 5432,
                user=unquote(url.username),
                password=unquote(url.password or ""),
                pool_size=threads,
            ),
            events_table_name="stored_events",
        )
    else:
        recorder = SQLiteApplicationRecorder(SQLiteDatastore(place, pool_size=threads))
    recorder.create_table()
    return recorder


class Peer:
    def __init__(self, place, threads, samples):
        self.recorder = recorder(place, threads)
        with open(samples, encoding="utf-8") as lines:
            self.samples = [json.loads(line) for line in lines]
        self.workers = [[[uuid4(), 0] for _ in range(100)] for _ in range(threads)]
        self.turns = [itertools.count() for _ in range(threads)]
        self.filled = []
        self.loaded = itertools.count()

    def stored_events(self, aggregate, version, first, count):
        for index in range(count):
            sample = self.samples[(first + index) % len(self.samples)]
            state = json.dumps(sample, separators=(",", ":")).encode()
            yield StoredEvent(aggregate, version + index + 1, sample["event_type"], state)

    def append(self, events, batch):
        stored = itertools.count(batch, batch)
        ended = []
        errors = []
        end = threading.Event()
        barrier = threading.Barrier(len(self.workers) + 1)

        def work(aggregates, turns):
            barrier.wait()
            try:
                while not end.is_set():
                    turn = next(turns)
                    aggregate = aggregates[turn % len(aggregates)]
                    new = list(self.stored_events(*aggregate, turn * batch, batch))
                    self.recorder.insert_events(new)
                    aggregate[1] += batch
                    if next(stored) >= events:
                        ended.append(time.perf_counter())
                        end.set()
            except Exception as error:
                errors.append(error)
                end.set()

        threads = [threading.Thread(target=work, args=args) for args in zip(self.workers, self.turns)]
        for thread in threads:
            thread.start()
        barrier.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return min(ended) - started

    def fill(self, aggregates, events):
        self.filled = [uuid4() for _ in range(aggregates)]
        for index, aggregate in enumerate(self.filled):
            self.recorder.insert_events(list(self.stored_events(aggregate, 0, index * events, events)))

    def load(self, times):
        for _ in range(times):
            aggregate = self.filled[next(self.loaded) % len(self.filled)]
            if not self.recorder.select_events(aggregate):
                raise RuntimeError(f"nothing was stored for {aggregate}")

    def scan(self, events):
        read = 0
        while read < events:
            page = self.recorder.select_notifications(start=read + 1, limit=PAGE)
            if not page:
                raise RuntimeError(f"the log has {read} events only")
            read += len(page)


def main():
    place, threads, samples = sys.argv[1:]
    peer = Peer(place, int(threads), samples)
    for line in sys.stdin:
        task, *numbers = line.split()
        start = time.perf_counter()
        took = getattr(peer, task)(*map(int, numbers))
        print("took", took if took is not None else time.perf_counter() - start, flush=True)


main()
