"""surgetank.features.source_code: when the fingerprint of a custom feature changes, and when it does not."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from surgetank import Field, Table, hours
from surgetank.errors import ModelError, TopologyError
from surgetank.features import source_code
from surgetank.features.spec import CODE, FeatureSpec, Input
from surgetank.features.spec import fingerprint as of_declaration
from surgetank.features.tables import table_states
from surgetank.serving import bundle

FEATURES = '''
from dataclasses import dataclass

import numpy as np

from surgetank.features.derived import Derived
from shop import rates
from shop.rates import converted

LIMITS = {"low": 1.5, "high": [2, 3]}


@dataclass(frozen=True, slots=True)
class InEuros(Derived):
    """A price in euros."""

    field: str

    @property
    def name(self):
        """The name."""
        return f"{self.field}_in_euros"  # a comment

    @property
    def operands(self):
        return (self.field,)

    def compute(self, *operands):
        return np.maximum(converted(operands[0]), LIMITS["low"]) * rates.FACTOR

    def formula(self, *operands):
        return operands[0]
'''
RATES = '''
FACTOR = 2.0
UNUSED = 1

def converted(price):
    """Convert."""
    return _rounded(price) * 0.9

def _rounded(price):
    return price
'''
# Of this code in every version of Python: a change of it is a change of the fingerprints of all custom features.
HASH = "83b2751025dbcd4bfc17a1bab86daee6549465bc6088c22dc2933bf6bde47843"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a package that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    yield tmp_path / "shop"
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    source_code.code_hash.cache_clear()


def imported(package: Path, features: str = FEATURES, rates: str = RATES) -> ModuleType:
    """Write and import the modules anew."""
    _forget()
    (package / "features.py").write_text(features)
    (package / "rates.py").write_text(rates)
    return importlib.import_module("shop.features")


def in_euros(package: Path, features: str = FEATURES, rates: str = RATES) -> Input:
    """Return the feature of the modules."""
    feature: Input = imported(package, features, rates).InEuros("price")
    return feature


def fingerprint(*features: Any) -> str:
    """Return the fingerprint of features."""
    return FeatureSpec(features).fingerprint()


def test_the_hash_is_the_same_in_every_version_of_python(package: Path) -> None:
    """The number was computed once; this test runs in every supported version."""
    assert in_euros(package).declaration()[CODE] == HASH


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("# a comment", "# another"),
        lambda text: text.replace('"""A price in euros."""', '"""Something else."""'),
        lambda text: text.replace('        """The name."""\n', ""),
        lambda text: text.replace("(self.field,)", "(\n            self.field,\n        )"),
        lambda text: "\n\n\nX = 1\n" + text,
    ],
)
def test_comments_and_layout_are_no_code(package: Path, edit: Any) -> None:
    """Neither are docstrings, the place in the file, and what the feature does not use."""
    before = fingerprint(in_euros(package))
    assert edit(FEATURES) != FEATURES
    assert fingerprint(in_euros(package, edit(FEATURES))) == before
    assert fingerprint(in_euros(package, rates=RATES.replace("UNUSED = 1", "UNUSED = 2"))) == before


@pytest.mark.parametrize(
    ("features", "rates"),
    [
        (("np.maximum", "np.minimum"), ("", "")),
        (('"low": 1.5', '"low": 1.25'), ("", "")),
        (("", ""), ("* 0.9", "* 0.8")),
        (("", ""), ("return price\n", "return round(price)\n")),
        (("", ""), ("FACTOR = 2.0", "FACTOR = 2.5")),
    ],
)
def test_code_and_all_that_it_uses_in_its_package_counts(
    package: Path, features: tuple[str, str], rates: tuple[str, str]
) -> None:
    """The class, constants, functions, functions of functions, and attributes of modules."""
    before = fingerprint(in_euros(package))
    after = fingerprint(in_euros(package, FEATURES.replace(*features), RATES.replace(*rates)))
    assert after != before


def test_rows_of_a_table_depend_on_the_code_of_what_they_aggregate(package: Path) -> None:
    """Rows with values of other code are other rows."""

    def state(features: str) -> tuple[str, str]:
        mean = Table("t").mean(in_euros(package, features), window=hours(1))
        return table_states([mean])[0].layout.fingerprint(), fingerprint(mean)

    before, after = state(FEATURES), state(FEATURES.replace("operands[0]\n", "operands[0] + '+ 1'\n"))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_features_of_the_engine_have_no_code_in_their_declarations() -> None:
    """Their fingerprints are those of earlier versions."""
    assert Field("a").declaration() == {"kind": "Field", "name": "a", "field": "a"}


def test_the_source_code_of_a_custom_feature_cannot_be_read(package: Path) -> None:
    """As of a class that was typed into an interpreter, or of a project deployed without its sources."""
    module = imported(package)
    (package / "features.py").unlink()
    importlib.import_module("linecache").clearcache()
    with pytest.raises(TopologyError, match=r"'InEuros' in 'shop\.features' cannot be read.*in a \.py file"):
        fingerprint(module.InEuros("price"))


def test_a_model_was_trained_with_other_code_of_a_feature(package: Path, tmp_path: Path) -> None:
    """The error names the feature; a bundle of an earlier version has no code, and can be written anew."""
    trained = FeatureSpec((in_euros(package, FEATURES.replace("np.maximum", "np.minimum")),))
    manifest = bundle.Manifest(
        name="m",
        version="1",
        meaning="",
        features=trained.declaration(),
        fingerprint=trained.fingerprint(),
        sha256=bundle.sha256(b"model"),
        input="x",
        output="y",
        figures={},
        created_by="",
    )
    written = bundle.write(tmp_path / "models", manifest, b"model")
    written.check(trained)
    with pytest.raises(ModelError, match="'price_in_euros' is not as in training: code_sha256 is "):
        written.check(FeatureSpec((in_euros(package),)))

    earlier = [{name: value for name, value in each.items() if name != CODE} for each in trained.declaration()]
    without = manifest.model_copy(update={"version": "2", "features": earlier, "fingerprint": of_declaration(earlier)})
    with pytest.raises(ModelError, match=r"code_sha256 is '[0-9a-f]{64}' in the pipeline and None in the model"):
        bundle.write(tmp_path / "models", without, b"model").check(trained)
