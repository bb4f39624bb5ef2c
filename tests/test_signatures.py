# SPDX-License-Identifier: MIT
"""What `help` shows of functions that take keyword arguments by **: every one, with the default that it has."""

import inspect

import fastrnn
import pytest
from fastrnn import signatures

LAYERS = [fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU, fastrnn.IndRNN]
MODELS = [fastrnn.NToN, fastrnn.NToOne, fastrnn.OneToN, fastrnn.NToM]


@pytest.mark.parametrize("kind", [*LAYERS, *MODELS])
def test_constructors_show_all_options_and_take_what_they_show(kind):
    shown = inspect.signature(kind).parameters
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    assert {"dropout", "zoneout", "init", "seed", "dtype"} <= shown.keys()
    first = (3, 4) if kind in LAYERS else ("gru", 3, 4, 2)
    given = {name: p.default for name, p in shown.items() if p.kind is p.KEYWORD_ONLY}
    assert repr(kind(*first, **given)) == repr(kind(*first))


@pytest.mark.parametrize("kind", MODELS)
def test_fit_shows_what_every_fit_takes(kind):
    shown, common = (inspect.signature(cls.fit).parameters for cls in (kind, fastrnn.NToN))
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    for name, parameter in common.items():
        assert shown[name] == parameter
    more = shown.keys() - common.keys()
    assert more == ({"teacher_forcing", "forcing"} if kind in (fastrnn.OneToN, fastrnn.NToM) else set())


def test_what_a_function_names_itself_stays_its_own():
    @signatures.shows(signatures.of_keywords(lambda *, a=1, b=2: None))
    def function(x, *, b=3, **options):
        return x, b, options

    assert str(inspect.signature(function)) == "(x, *, b=3, a=1)"
    assert function(0, a=5) == (0, 3, {"a": 5})


def test_what_is_not_shown_is_refused():
    model = fastrnn.OneToN("gru", 3, 4, 2, seed=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        model.fit([[1.0, 2.0, 3.0]], [[1]], epoch=1)
    with pytest.raises(TypeError, match=r"NToN\(\) got an unexpected keyword argument 'drop'"):
        fastrnn.NToN("gru", 3, 4, 2, drop=0.5)
