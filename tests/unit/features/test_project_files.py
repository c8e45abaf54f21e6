"""Vocabularies and lookup tables from files of the project: their values, their fingerprints, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Category, lookup_file, vocabulary_file
from surgetank.errors import TopologyError
from surgetank.features.columns import FEW_ROWS
from surgetank.features.spec import FeatureSpec

CSV = "merchant,risk,age\nM1,0.5,3\nM2,,1e2\n7,-1,0\n"


def file(folder: Path, content: str | bytes) -> Path:
    """Write a file."""
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("content", ["NL\nBE\n", "NL\nBE", "NL\r\nBE\r\n", "\ufeffNL\nBE\n"])
def test_a_vocabulary_is_one_value_on_each_line(tmp_path: Path, content: str) -> None:
    """With any line ends, with a mark of the byte order, and without a last line end."""
    assert vocabulary_file(file(tmp_path, content)) == ("NL", "BE")


def test_a_vocabulary_of_a_file_is_one_of_the_declaration(tmp_path: Path) -> None:
    """Its values are in the fingerprint; where the file lies is not."""
    category = Category("country", vocabulary_file(file(tmp_path, "NL\nBE\n")))
    assert category.declaration() == Category("country", ("NL", "BE")).declaration()
    assert "unknown" not in category.declaration()
    other = Category("country", vocabulary_file(file(tmp_path, "NL\nDE\n")))
    assert FeatureSpec((category,)).fingerprint() != FeatureSpec((other,)).fingerprint()


@pytest.mark.parametrize("repeated", [1, FEW_ROWS])
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_unknown_values_have_an_index(repeated: int, kind: pa.DataType) -> None:
    """Null stays missing, in small and large batches."""
    columns = pa.record_batch({"country": pa.array(["BE", "XX", None] * repeated).cast(kind)})
    category = Category("country", ("NL", "BE"), unknown=-1)
    np.testing.assert_array_equal(category.column(columns), [1, -1, np.nan] * repeated)
    missing = Category("country", ("NL", "BE"))
    np.testing.assert_array_equal(missing.column(columns), [1, np.nan, np.nan] * repeated)
    assert FeatureSpec((category,)).fingerprint() != FeatureSpec((missing,)).fingerprint()


def test_the_index_of_unknown_values_is_no_other() -> None:
    """An unknown value would look like a known one."""
    with pytest.raises(TopologyError, match="unknown is 1, the index of 'BE'; use -1 or 2"):
        Category("country", ("NL", "BE"), unknown=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write one value on each line"),
        (b"NL\n\nBE\n", "line 2 is empty; delete it"),
        (b"NL\nBE\nNL\n", "'NL' is on lines 1 and 3; delete one"),
        (b"NL\n\xe9\n", "is not UTF-8 at byte 3; save it as UTF-8"),
    ],
)
def test_a_vocabulary_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names file, line and cure."""
    with pytest.raises(TopologyError, match=f"vocabulary {tmp_path}.*{message}"):
        vocabulary_file(file(tmp_path, content))


def test_a_file_of_a_declaration_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to the project."""
    monkeypatch.chdir(tmp_path)
    for read in (lambda: vocabulary_file("words.txt"), lambda: lookup_file("words.txt", key="k")):
        with pytest.raises(TopologyError, match=rf"words\.txt: No such file.*project, here {tmp_path}"):
            read()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("repeated", [0, 1, FEW_ROWS])
def test_a_lookup_is_the_number_of_the_key(tmp_path: Path, kind: pa.DataType, repeated: int) -> None:
    """Other keys have the default or are missing; null and empty cells are missing. In batches of any size."""
    table = lookup_file(file(tmp_path, CSV), key="merchant")
    columns = pa.record_batch({"shop": pa.array(["M2", "M1", "XX", None] * repeated, pa.string()).cast(kind)})
    risk, age = table.column("risk", of="shop", default=9), table.column("age", of="shop")
    np.testing.assert_array_equal(risk.column(columns), [np.nan, 0.5, 9, np.nan] * repeated)
    np.testing.assert_array_equal(age.column(columns), [100, 3, np.nan, np.nan] * repeated)
    assert (risk.name, risk.inputs) == ("shop_risk", ("shop",))


def test_keys_of_a_lookup_may_be_integers(tmp_path: Path) -> None:
    """As texts without leading zeros."""
    columns = pa.record_batch({"shop": pa.array([7, 8, None], pa.int64())})
    risk = lookup_file(file(tmp_path, CSV), key="merchant").column("risk", of="shop")
    assert risk.takes(columns["shop"].type)
    np.testing.assert_array_equal(risk.column(columns), [-1, np.nan, np.nan])


def test_the_content_of_a_lookup_is_in_the_fingerprint(tmp_path: Path) -> None:
    """Its numbers for the used column and the default; not the order of the rows, and not other columns."""

    def of(content: str, default: float | None = None) -> str:
        table = lookup_file(file(tmp_path, content), key="merchant")
        return FeatureSpec((table.column("risk", of="shop", default=default),)).fingerprint()

    assert of(CSV) == of("merchant,risk,age\n7,-1,0\nM2,,4\nM1,0.5,3\n") == of("risk,merchant\n-1,7\n,M2\n0.50,M1\n")
    assert len({of(CSV), of(CSV, 0), of(CSV.replace("0.5", "0.6")), of(CSV.replace("M2", "M3"))}) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write a header"),
        (b"merchant,risk\n", "has no rows"),
        (b"merchant\nM1\n", "has no column besides the key"),
        (b"shop,risk\nM1,1\n", "has no column 'merchant'; it has: shop, risk"),
        (b"merchant,risk,risk\nM1,1,2\n", "two columns 'risk'"),
        (b"merchant,risk\nM1,1\nM1,2\n", "line 3: key 'M1' is on line 2 too; delete one"),
        (b"merchant,risk\n,1\n", "line 2 has no key"),
        (b"merchant,risk\nM1\n", "line 2 has 1 cells and the header 2"),
        (b"merchant,risk\nM1,high\n", "line 2, column 'risk': 'high' is no finite number"),
        (b"merchant,risk\nM1,nan\n", "'nan' is no finite number"),
        (b"merchant,risk\n\xe9,1\n", "is not UTF-8 at byte 14"),
        (b'merchant,risk\n"M1,1\n', "is not CSV: unexpected end of data"),
    ],
)
def test_a_lookup_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names file, line and cure."""
    with pytest.raises(TopologyError, match=f"lookup table {tmp_path}.*{message}"):
        lookup_file(file(tmp_path, content), key="merchant")


def test_a_lookup_names_a_column_of_the_file(tmp_path: Path) -> None:
    """Else the columns are listed."""
    with pytest.raises(TopologyError, match="no column 'size'; it has: risk, age"):
        lookup_file(file(tmp_path, CSV), key="merchant").column("size", of="shop")
