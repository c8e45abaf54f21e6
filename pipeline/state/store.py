"""The store of a task: one RocksDB with the rows of its tables and how far they go. The only user of rocksdict.

Why a crash cannot tear it: there is no write-ahead log. What ``write`` takes goes into the memtable in one piece,
positions and rows together; memtables are written to disk whole and in order. So what is on disk is always
all of the first n writes, and its positions say which. The rest is in the changelog and is read from there.

Keys begin with one byte: 0 for the store's own, and each table has its number.
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

from pipeline.errors import StateClosed, StateError, StateMismatch
from pipeline.state.budget import Budget
from pipeline.state.changelog import Changes
from pipeline.state.rocksdb_errors import check_whole, is_corruption, translated
from pipeline.state.store_identity import StoredIdentity, StoreIdentity, TableDifference

_Absent = TypeVar("_Absent")

_IDENTITY = b"\0identity"
_POSITION = b"\0position "
_RESTORING = b"\0restoring "
_SIZES = ("rocksdb.estimate-num-keys", "rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")
_STALLED = "Write stall"  # what RocksDB says when a write would have to wait

_FILTER_BITS_PER_KEY = 10  # 1 % of absent keys are searched for in vain
_BLOCK_BYTES = 8 << 10  # some ten rows: a smaller index, and fewer blocks to make
_BACKGROUND_THREADS = 2  # of the whole process: RocksDB shares them among its databases
_LOG_BYTES = 1 << 20


class StoreMemory:
    """What the stores of one worker share: the block cache."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.cache = rocksdict.Cache(budget.block_cache)

    @property
    def cached(self) -> int:
        """The bytes of the block cache that are in use."""
        return self.cache.get_usage()

    def resize(self, budget: Budget) -> None:
        """Take another budget. Stores that are open follow by ``Store.resize``."""
        self.budget = budget
        self.cache.set_capacity(budget.block_cache)


@dataclass(frozen=True, slots=True)
class StoreSize:
    """About how large a store is: rows of all tables, bytes of its files, bytes of its write buffers."""

    rows: int
    disk_bytes: int
    memory_bytes: int


class Store:
    """Rows and positions of one task on disk. Any thread may read; one at a time may write.

    Every method raises StateCorrupt where the disk gives back other than what was written, DiskFull where there is
    no room, and StateError where the store cannot be used at all, as after ``close``.
    """

    @classmethod
    def open(cls, path: Path, identity: StoreIdentity, memory: StoreMemory) -> "Store":
        """Open the store in the folder ``path``, or make a new one there.

        Raises StateMismatch if it is of another pipeline, task or number of partitions.
        """
        check_whole(path)
        options = _options(memory)
        with translated(path):
            # For the column family too, which otherwise takes those of its last opening, with a cache of its own.
            db = Rdict(str(path), options, column_families={"default": options})
        try:
            return cls(path, db, identity)
        except BaseException:
            with suppress(Exception):  # what it says comes second
                db.close()
            raise

    @classmethod
    def look(cls, path: Path, memory: StoreMemory) -> "Store | None":
        """Open what is on the disk, to be read only, also while a worker has the store; None if that is nothing yet.

        It stays what it was at that moment, all of the first n writes, whatever is written meanwhile. Raises
        StateCorrupt also where files went away under the opening, as they do when RocksDB tidies up: look again then.
        """
        check_whole(path)
        if not (path / "CURRENT").exists():
            return None
        options = _options(memory)
        options.create_if_missing(False)
        options.set_max_open_files(-1)  # all are opened at once, and can be read also when they were deleted
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
        """What the store was made for."""
        return self._kept.identity

    @property
    def differences(self) -> tuple[TableDifference, ...]:
        """The tables that are kept in another shape than is wanted.

        They can be scanned, but neither read nor written.
        """
        return self._kept.differences(self._wanted)

    def read(self, table: str, keys: Sequence[bytes], absent: _Absent) -> list[bytes | _Absent]:
        """Return the value of each key, ``absent`` for those without. Other threads run meanwhile."""
        prefix = self._prefix(table)
        with self._in_use() as db:
            return cast("list[bytes | _Absent]", db.get([prefix + key for key in keys], default=absent))

    def write(self, changes: Mapping[str, Changes], positions: Mapping[str, int]) -> None:
        """Write rows of tables (None deletes) and how far topics are included: all of it or nothing.

        ``positions`` are by topic the offset of its next record, whether source or changelog.
        """
        steps = [_Step.of(self._prefix(table), rows) for table, rows in changes.items()]
        self._write([*steps, _reached(positions)])

    def positions(self) -> dict[str, int]:
        """Return by topic the offset up to which the store includes it."""
        return {topic.decode(): int.from_bytes(at, "little") for topic, at in self._scan(_POSITION, b"", None)}

    def begin_restore(self, starts: Mapping[str, int]) -> None:
        """Note up to which offset of each source topic rows may be included from now on: before they are written."""
        self._write([_reached(starts, _RESTORING)])

    def restoring(self) -> dict[str, int]:
        """Return what ``begin_restore`` noted last."""
        return {topic.decode(): int.from_bytes(at, "little") for topic, at in self._scan(_RESTORING, b"", None)}

    def scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to ``limit`` keys and values of a table, in the order of keys, from the first one behind ``after``.

        Also of a table that is kept in another shape than is wanted.
        """
        number = self._kept.numbers.get(table)
        return [] if number is None else self._scan(bytes([number]), b"" if after is None else after + b"\0", limit)

    def size(self) -> StoreSize:
        """Return estimates, without reading the rows."""
        with self._in_use() as db:
            rows, disk, memory = (db.property_int_value(name) or 0 for name in _SIZES)
        return StoreSize(rows, disk, memory)

    def flush(self) -> None:
        """Bring everything written so far to the disk. Other threads run meanwhile."""
        with self._in_use() as db:
            db.flush(wait=True)

    def checkpoint(self, folder: Path) -> None:
        """Make ``folder``, which must not exist, a store of its own with what this one holds now.

        On the same file system it shares the files that never change, and takes next to no room.
        """
        if folder.exists():
            raise StateError(f"cannot export state to {folder}: it exists; name a folder that does not")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not self._looks:
            self.flush()  # now, because the checkpoint holds the GIL
        with self._in_use() as db:
            rocksdict.Checkpoint(db).create_checkpoint(str(folder))

    def resize(self, budget: Budget) -> None:
        """Take another size of write buffers, as a worker with more or fewer tasks gives."""
        with self._in_use() as db:
            db.set_options({"write_buffer_size": str(budget.write_buffer)})

    def close(self) -> None:
        """Bring everything to the disk and give it back. Waits for those who read; a second call does nothing.

        It is closed also if it raises: what was not brought to the disk is in the changelog.
        """
        with self._changed:
            db, self._db = self._db, None
            self._changed.wait_for(lambda: self._users == 0)
        if db is not None:
            with translated(self.path):
                db.close()

    @contextmanager
    def _in_use(self) -> Iterator[Rdict]:
        """Lend the database, which is not closed meanwhile: rocksdict does not stand that."""
        with self._changed:
            db = self._db
            if db is None:
                raise StateClosed(f"state in {self.path} was closed, because its task was")
            self._users += 1
        try:
            with translated(self.path):
                yield db
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _identified(self) -> StoredIdentity:
        """Return what the store was made for; a new one is made for what is wanted."""
        with self._in_use() as db:
            text = db.get(_IDENTITY)
        if text is not None:
            return StoredIdentity.load(text, self.path)
        if self._scan(b"", b"", 1):
            raise is_corruption(self.path, "it holds rows, but not what it was made for")
        kept = StoredIdentity.new(self._wanted)
        self._write([_Step([_IDENTITY], [kept.dump()])])
        return kept

    def _prefix(self, table: str) -> bytes:
        kept, wanted = self._kept.identity.tables.get(table), self._wanted.tables.get(table)
        if kept is None or kept != wanted:
            raise StateMismatch(f"table {table!r} in {self.path} is kept as {kept} and wanted as {wanted}")
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
                    db.flush(wait=True)  # also waits for the compaction that it needs
                else:
                    return

    def _scan(self, prefix: bytes, start: bytes, limit: int | None) -> list[tuple[bytes, bytes]]:
        """Return keys without their prefix, and values, from ``start`` on."""
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
                rows.status()  # a damaged block ends the rows without an error
            finally:
                del rows  # it would keep the database open
        return found


class _Step:
    """A part of a write: put these values, delete these keys."""

    def __init__(self, keys: Sequence[bytes], values: Sequence[bytes], deletes: Sequence[bytes] = ()) -> None:
        self._keys, self._values, self._deletes = keys, values, deletes

    @classmethod
    def of(cls, prefix: bytes, changes: Changes) -> "_Step":
        """Return the step that makes the changes, in the order of keys: that halves the time they take."""
        keys = sorted(changes)
        values = list(map(changes.__getitem__, keys))
        if None not in values:
            return cls([prefix + key for key in keys], values)  # type: ignore[arg-type]
        put = [(prefix + key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        gone = [prefix + key for key, value in zip(keys, values, strict=True) if value is None]
        return cls([key for key, _ in put], [value for _, value in put], gone)

    def add_to(self, batch: WriteBatch) -> None:
        """Add it to the batch. Loops in C: this is the hot path."""
        deque(map(batch.__setitem__, self._keys, self._values), maxlen=0)
        deque(map(batch.__delitem__, self._deletes), maxlen=0)


def destroy(path: Path) -> None:
    """Delete the store in a folder, whatever state it is in; nothing, if there is none. It must be closed.

    What is left after a crash on the way is taken for damage, and so is deleted then.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _reached(positions: Mapping[str, int], prefix: bytes = _POSITION) -> _Step:
    keys = [prefix + topic.encode() for topic in positions]
    return _Step(keys, [at.to_bytes(8, "little") for at in positions.values()])


def _write_options() -> rocksdict.WriteOptions:
    options = rocksdict.WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign,assignment] # a property, which the stubs call a method
    # A write holds the GIL. Where RocksDB would have it wait, it is refused instead, and we wait without the GIL.
    options.no_slowdown = True
    return options


def _options(memory: StoreMemory) -> rocksdict.Options:
    """Return options for many point reads and batches of writes, by few threads within the budget."""
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_bloom_filter(_FILTER_BITS_PER_KEY, block_based=False)  # of whole keys
    blocks.set_cache_index_and_filter_blocks(True)  # so that they count
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_data_block_index_type(rocksdict.DataBlockIndexType.binary_and_hash())
    blocks.set_block_size(_BLOCK_BYTES)

    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(rocksdict.DBCompressionType.none())
    # Rows are written over and over: levels would rewrite each some ten times, this a few times, for disk and some
    # more files to search (ops/decisions/0015).
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
