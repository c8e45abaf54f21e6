"""The store of a task: a RocksDB database with the rows of its tables and their positions. The only user of rocksdict.

The store is consistent after a crash without a write-ahead log. ``write`` puts rows and positions into the memtable
atomically, and memtables are flushed whole and in order. So the files always hold all of the first n writes, with the
positions of these writes. The rest is restored from the changelog.

Keys begin with one byte: 0 for the store's own keys, otherwise the number of the table.
"""

import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import rocksdict
from rocksdict import Rdict, WriteBatch

from surgetank.errors import StateClosed, StateError, StateMismatch
from surgetank.state.budget import Budget
from surgetank.state.changelog import Changes
from surgetank.state.rocksdb_errors import check_whole, is_corruption, translated
from surgetank.state.store_identity import StoredIdentity, StoreIdentity, TableDifference

_Absent = TypeVar("_Absent")

_IDENTITY = b"\0identity"
_POSITION = b"\0position "
_RESTORING = b"\0restoring "
_SIZES = ("rocksdb.estimate-num-keys", "rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")
_STALLED = "Write stall"  # RocksDB's error when a write would have to wait

_FILTER_BITS_PER_KEY = 10  # a false positive rate of 1 %
_BLOCK_BYTES = 8 << 10  # about ten rows: a smaller index, and fewer blocks to build
_BACKGROUND_THREADS = 2  # per process: RocksDB shares them among its databases
_LOG_BYTES = 1 << 20


class StoreMemory:
    """The memory shared by the stores of one worker: the block cache."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.cache = rocksdict.Cache(budget.block_cache)

    @property
    def cached(self) -> int:
        """The used bytes of the block cache."""
        return self.cache.get_usage()

    def resize(self, budget: Budget) -> None:
        """Apply another budget. Call ``Store.resize`` for open stores."""
        self.budget = budget
        self.cache.set_capacity(budget.block_cache)


@dataclass(frozen=True, slots=True)
class StoreSize:
    """The estimated size of a store: rows of all tables, bytes of its files, bytes of its write buffers."""

    rows: int
    disk_bytes: int
    memory_bytes: int


class Store:
    """The rows and positions of one task on disk. Any thread may read; only one may write at a time.

    Every method raises StateCorrupt if the content is not the content that was written, DiskFull if the disk is full,
    and StateError if the store cannot be used, for example after ``close``.
    """

    @classmethod
    def open(cls, path: Path, identity: StoreIdentity, memory: StoreMemory) -> "Store":
        """Open the store in the folder ``path``, or create one there.

        Raises StateMismatch if it belongs to another pipeline or task.
        """
        check_whole(path)
        options = _options(memory)
        with translated(path):
            # Also for the column family, which otherwise keeps its previous options with a separate cache.
            db = Rdict(str(path), options, column_families={"default": options})
        try:
            return cls(path, db, identity)
        except BaseException:
            with suppress(Exception):  # the first error matters
                db.close()
            raise

    @classmethod
    def look(cls, path: Path, memory: StoreMemory) -> "Store | None":
        """Open the files of a store read-only, also while a worker has it open; None if it has no data on disk.

        The view holds all of the first n writes and does not change. Raises StateCorrupt also if RocksDB deleted files
        during the opening: retry then.
        """
        check_whole(path)
        if not (path / "CURRENT").exists():
            return None
        options = _options(memory)
        options.create_if_missing(False)
        options.set_max_open_files(-1)  # opens all files at once; they stay readable when they are deleted
        with translated(path):
            read = rocksdict.AccessType.read_only(error_if_log_file_exist=False)
            db = Rdict(str(path), options, column_families={"default": options}, access_type=read)
        try:
            with translated(path):
                text = db.get(_IDENTITY)
            if text is not None:
                return cls(path, db, StoredIdentity.load(text, path).identity, looks=True)
        except BaseException:
            db.close()
            raise
        db.close()
        return None

    def __init__(self, path: Path, db: Rdict, identity: StoreIdentity, *, looks: bool = False) -> None:
        self.path = path
        self._db: Rdict | None = db
        self._looks = looks
        self._users = 0
        self._changed = threading.Condition()
        self._options = _write_options()
        self._wanted = identity
        self._kept = self._identified()
        self._kept.check(identity, path)

    @property
    def identity(self) -> StoreIdentity:
        """The identity of the store."""
        return self._kept.identity

    @property
    def differences(self) -> tuple[TableDifference, ...]:
        """The tables whose signatures in the store differ from the required ones.

        They can be scanned, but not read or written.
        """
        return self._kept.differences(self._wanted)

    def read(self, table: str, keys: Sequence[bytes], absent: _Absent) -> list[bytes | _Absent]:
        """Return the value of each key, ``absent`` for keys without a value. Releases the GIL."""
        prefix = self._prefix(table)
        with self._in_use() as db:
            return cast("list[bytes | _Absent]", db.get([prefix + key for key in keys], default=absent))

    def write(self, changes: Mapping[str, Changes], positions: Mapping[str, int]) -> None:
        """Write rows of tables (None deletes) and positions of topics atomically.

        ``positions`` are the offsets of the next record by source or changelog topic.
        """
        steps = [_Step.of(self._prefix(table), rows) for table, rows in changes.items()]
        self._write([*steps, _reached(positions)])

    def positions(self) -> dict[str, int]:
        """Return by topic the offset before which the store includes all records."""
        return {topic.decode(): int.from_bytes(at, "little") for topic, at in self._scan(_POSITION, b"", None)}

    def begin_restore(self, starts: Mapping[str, int]) -> None:
        """Record, before restored rows are written, the source offsets up to which they may include events."""
        self._write([_reached(starts, _RESTORING)])

    def restoring(self) -> dict[str, int]:
        """Return the offsets of the last ``begin_restore``."""
        return {topic.decode(): int.from_bytes(at, "little") for topic, at in self._scan(_RESTORING, b"", None)}

    def scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to ``limit`` keys and values of a table in key order, starting with the first key after ``after``.

        Also works for tables whose signatures differ.
        """
        number = self._kept.numbers.get(table)
        return [] if number is None else self._scan(bytes([number]), b"" if after is None else after + b"\0", limit)

    def size(self) -> StoreSize:
        """Return estimates, without reading rows."""
        with self._in_use() as db:
            rows, disk, memory = (db.property_int_value(name) or 0 for name in _SIZES)
        return StoreSize(rows, disk, memory)

    def flush(self) -> None:
        """Flush all writes to disk. Releases the GIL."""
        with self._in_use() as db:
            db.flush(wait=True)

    def checkpoint(self, folder: Path) -> None:
        """Create a store with the current content in ``folder``, which must not exist.

        On the same file system the files are hard-linked, and take almost no space.
        """
        if folder.exists():
            raise StateError(f"cannot export state to {folder}: it exists; name a folder that does not exist")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not self._looks:
            self.flush()  # before the checkpoint, which holds the GIL
        with self._in_use() as db:
            rocksdict.Checkpoint(db).create_checkpoint(str(folder))

    def resize(self, budget: Budget) -> None:
        """Set the size of the write buffers, after the number of tasks of the worker has changed."""
        with self._in_use() as db:
            db.set_options({"write_buffer_size": str(budget.write_buffer)})

    def close(self) -> None:
        """Flush all writes and close the store after current readers have finished. A second call does nothing.

        The store is closed even if this raises: unflushed writes are in the changelog.
        """
        with self._changed:
            db, self._db = self._db, None
            self._changed.wait_for(lambda: self._users == 0)
        if db is not None:
            with translated(self.path):
                db.close()

    @contextmanager
    def _in_use(self) -> Iterator[Rdict]:
        """Yield the database and keep it open meanwhile: rocksdict does not tolerate a concurrent close."""
        with self._changed:
            db = self._db
            if db is None:
                raise StateClosed(f"state in {self.path} was closed together with its task")
            self._users += 1
        try:
            with translated(self.path):
                yield db
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _identified(self) -> StoredIdentity:
        """Return the identity of the store; a new store gets the required identity."""
        with self._in_use() as db:
            text = db.get(_IDENTITY)
        if text is not None:
            return StoredIdentity.load(text, self.path)
        if self._scan(b"", b"", 1):
            raise is_corruption(self.path, "it holds rows, but no identity")
        kept = StoredIdentity.new(self._wanted)
        self._write([_Step([_IDENTITY], [kept.dump()])])
        return kept

    def _prefix(self, table: str) -> bytes:
        kept, wanted = self._kept.identity.tables.get(table), self._wanted.tables.get(table)
        if kept is None or kept != wanted:
            raise StateMismatch(f"table {table!r} in {self.path} has signature {kept}, and {wanted} is required")
        return bytes([self._kept.numbers[table]])

    def _write(self, steps: Sequence["_Step"]) -> None:
        with self._in_use() as db:
            while True:
                batch = WriteBatch(raw_mode=True)
                for step in steps:
                    step.add_to(batch)
                try:
                    db.write(batch, self._options)
                except Exception as error:
                    if _STALLED not in str(error):
                        raise
                    db.flush(wait=True)  # also waits for the required compaction
                else:
                    return

    def _scan(self, prefix: bytes, start: bytes, limit: int | None) -> list[tuple[bytes, bytes]]:
        """Return keys without their prefix, and values, starting at ``start``."""
        found: list[tuple[bytes, bytes]] = []
        with self._in_use() as db:
            rows = db.iter()
            try:
                rows.seek(prefix + start)
                while rows.valid() and (limit is None or len(found) < limit):
                    key = rows.key()
                    if not key.startswith(prefix):
                        break
                    found.append((key[len(prefix) :], rows.value()))
                    rows.next()
                rows.status()  # a damaged block ends the iteration without an error
            finally:
                del rows  # the iterator would keep the database open
        return found


class _Step:
    """A part of a write: values to put and keys to delete."""

    def __init__(self, keys: Sequence[bytes], values: Sequence[bytes], deletes: Sequence[bytes] = ()) -> None:
        self._keys, self._values, self._deletes = keys, values, deletes

    @classmethod
    def of(cls, prefix: bytes, changes: Changes) -> "_Step":
        """Return the step for the changes, in key order, which halves the time of the write."""
        keys = sorted(changes)
        values = list(map(changes.__getitem__, keys))
        if None not in values:
            return cls([prefix + key for key in keys], values)  # type: ignore[arg-type]
        put = [(prefix + key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        gone = [prefix + key for key, value in zip(keys, values, strict=True) if value is None]
        return cls([key for key, _ in put], [value for _, value in put], gone)

    def add_to(self, batch: WriteBatch) -> None:
        """Add the step to a batch. The loops run in C, because this is a hot path."""
        deque(map(batch.__setitem__, self._keys, self._values), maxlen=0)
        deque(map(batch.__delitem__, self._deletes), maxlen=0)


def destroy(path: Path) -> None:
    """Delete the store in a folder, which must be closed; do nothing if there is none.

    A partly deleted store, left by a crash, is detected as damaged and deleted then.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _reached(positions: Mapping[str, int], prefix: bytes = _POSITION) -> _Step:
    keys = [prefix + topic.encode() for topic in positions]
    return _Step(keys, [at.to_bytes(8, "little") for at in positions.values()])


def _write_options() -> rocksdict.WriteOptions:
    options = rocksdict.WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign,assignment] # a property, which the stubs call a method
    # A write holds the GIL. If RocksDB would stall it, it fails instead, and we wait without the GIL.
    options.no_slowdown = True
    return options


def _options(memory: StoreMemory) -> rocksdict.Options:
    """Return options for many point reads and batch writes, with few threads and within the budget."""
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_bloom_filter(_FILTER_BITS_PER_KEY, block_based=False)  # of whole keys
    blocks.set_cache_index_and_filter_blocks(True)  # so that they count towards the budget
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_data_block_index_type(rocksdict.DataBlockIndexType.binary_and_hash())
    blocks.set_block_size(_BLOCK_BYTES)

    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(rocksdict.DBCompressionType.none())
    # Rows are overwritten often: level compaction would rewrite each about ten times, universal compaction a few times,
    # at the cost of more disk space and a few more files to search (ops/decisions/0015).
    options.set_compaction_style(rocksdict.DBCompactionStyle.universal())
    options.set_write_buffer_size(memory.budget.write_buffer)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(memory.budget.open_files)
    options.set_max_background_jobs(_BACKGROUND_THREADS)
    options.set_max_log_file_size(_LOG_BYTES)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options
