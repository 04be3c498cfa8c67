"""Rows of the matrix: values of the standard library and of numpy, and instances of the host's own classes."""

from __future__ import annotations

from functools import partial

from tests.values.kinds import Kind

_plain = partial(Kind, group="Plain values", plain=True)
_numpy = partial(Kind, group="Arrays")
_library = partial(Kind, group="Objects of the standard library", plain=True)

VALUES = (
    _plain(
        name="None, bool, int, float, complex",
        make="[None, True, 2**80, 0.5, 1j]",
        look="v",
        sees="[None, True, 1208925819614629174706176, 0.5, 1j]",
    ),
    _plain(
        name="text, with odd characters",
        make="'ä€\\U0001f600\\udc80'",
        look="[len(v), ascii(v)]",
        sees="[4, \"'\\\\xe4\\\\u20ac\\\\U0001f600\\\\udc80'\"]",
    ),
    _plain(name="bytes, bytearray", make="[b'a\\0', bytearray(b'b')]", look="v", sees="[b'a\\x00', bytearray(b'b')]"),
    _plain(
        name="big bytes (3 MiB)",
        make="b'ab' * (3 << 19)",
        look="[len(v), bytes(v[:2]), bytes(v[-1:])]",
        sees="[3145728, b'ab', b'b']",
    ),
    _plain(
        name="list, tuple, dict, set, frozenset",
        make="[(1,), {'a': [2]}, {3}, frozenset({4})]",
        look="v",
        sees="[(1,), {'a': [2]}, {3}, frozenset({4})]",
    ),
    _plain(
        name="an object that stands twice",
        define="twice_item = [1]",
        make="[twice_item, twice_item]",
        look="[v[0] is v[1], len(v)]",
        sees="[True, 2]",
    ),
    _plain(
        name="a list that holds itself",
        define="def ring():\n    made = [1]\n    made.append(made)\n    return made",
        make="ring()",
        look="[v[1] is v, v[0]]",
        sees="[True, 1]",
    ),
    _plain(
        name="range, slice, Ellipsis, NotImplemented",
        make="[range(1, 9, 2), slice(1, 2), ..., NotImplemented]",
        look="[list(v[0]), str(v[1]), v[2] is ..., v[3] is NotImplemented]",
        sees="[[1, 3, 5, 7], 'slice(1, 2, None)', True, True]",
    ),
    _library(
        name="Path, PurePath",
        make="[pathlib.Path('/a') / 'b', pathlib.PurePosixPath('c')]",
        look="[str(v[0]), str(v[1]), type(v[0]).__name__]",
        sees="['/a/b', 'c', 'PosixPath']",
    ),
    _library(
        name="Decimal, Fraction",
        make="[decimal.Decimal('1.10'), fractions.Fraction(1, 3)]",
        look="[str(i) for i in v]",
        sees="['1.10', '1/3']",
    ),
    _library(
        name="date, time, timedelta, datetime with UTC",
        make="[datetime.date(2024, 2, 29), datetime.timedelta(1, 2), datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)]",
        look="[v[0].isoformat(), str(v[1]), v[2].isoformat()]",
        sees="['2024-02-29', '1 day, 0:00:02', '2024-01-01T00:00:00+00:00']",
    ),
    _library(
        name="datetime with ZoneInfo",
        make="datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))",
        look="[v.isoformat(), str(v.tzinfo), type(v.tzinfo).__name__]",
        sees="['2024-07-01T12:00:00+02:00', 'Europe/Berlin', 'ZoneInfo']",
    ),
    _library(
        name="UUID", make="uuid.UUID(int=5)", look="[str(v), v.int]", sees="['00000000-0000-0000-0000-000000000005', 5]"
    ),
    _library(
        name="regular expression",
        make="re.compile('(a+)b', re.I)",
        look="[v.pattern, v.match('AAb').group(1)]",
        sees="['(a+)b', 'AA']",
    ),
    _library(
        name="deque, OrderedDict, defaultdict, Counter",
        make="[collections.deque([1], 3), collections.OrderedDict(a=1), collections.defaultdict(list, b=[2]), collections.Counter('aab')]",
        look="[list(v[0]), v[0].maxlen, list(v[1]), v[2]['new'], v[3]['a']]",
        sees="[[1], 3, ['a'], [], 2]",
    ),
    _library(
        name="array.array, StringIO, BytesIO",
        make="[array.array('d', [1.5]), io.StringIO('text'), io.BytesIO(b'x')]",
        look="[list(v[0]), v[1].getvalue(), v[2].getvalue()]",
        sees="[[1.5], 'text', b'x']",
    ),
    _library(name="SimpleNamespace", make="types.SimpleNamespace(a=1)", look="v.a", sees="1"),
    _library(
        name="iterator of a list",
        make="iter([1, 2])",
        look="list(copy.copy(v)) if 'copy' in globals() else list(v)",
        sees="[1, 2]",
    ),
    _library(
        name="a logger",
        make="logging.getLogger('app.part')",
        look="[v.name, type(v).__name__, v is __import__('logging').getLogger('app.part')]",
        sees="['app.part', 'Logger', True]",
    ),
    _library(name="a module", make="math", look="[v.__name__, v.floor(1.5)]", sees="['math', 1]", elsewhere=False),
    _library(
        name="builtin functions and bound methods of them",
        make="[len, 'x'.join, int.from_bytes]",
        look="[v[0]('ab'), v[1](['a', 'b']), v[2](b'\\1', 'big')]",
        sees="[2, 'axb', 1]",
    ),
    _library(
        name="partial, attrgetter, itemgetter of builtins",
        make="[functools.partial(int, base=2), operator.itemgetter(1)]",
        look="[v[0]('101'), v[1]('ab')]",
        sees="[5, 'b']",
    ),
    _library(
        name="builtin exception, with notes and cause",
        define="def noted():\n    made = KeyError('k', 1)\n    made.__dict__['extra'] = 2\n    return made",
        make="noted()",
        look="[type(v).__name__, v.args, v.extra]",
        sees="['KeyError', ('k', 1), 2]",
    ),
    _library(
        name="random state",
        make="random.Random(5)",
        look="copy.copy(v).randrange(1000) if 'copy' in globals() else v.randrange(1000)",
        sees="637",
    ),
    _library(
        name="Enum of the library",
        make="[socket.AF_INET, http.HTTPStatus.OK]",
        look="[v[0].name, v[1].value, v[0] is __import__('socket').AF_INET]",
        sees="['AF_INET', 200, True]",
    ),
    _library(
        name="views of a dict",
        make="[{'a': 1}.keys(), {'a': 1}.values(), {'a': 1}.items()]",
        look="[sorted(v[0]), list(v[1]), list(v[2])]",
        sees="[['a'], [1], [('a', 1)]]",
        elsewhere=False,
    ),
    _library(
        name="generic alias, union of types",
        make="[list[int], int | None, typing.Optional[str]]",
        look="[str(i) for i in v]",
        sees="['list[int]', 'int | None', 'typing.Optional[str]']",
        elsewhere=False,
    ),
    _numpy(
        name="numpy array of numbers",
        make="numpy.arange(6.0).reshape(2, 3)",
        look="[v.dtype.str, v.shape, v.tolist()]",
        sees="['<f8', (2, 3), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]",
    ),
    _numpy(
        name="numpy array, large",
        make="numpy.zeros(300_000)",
        look="[v.dtype.str, v.shape, float(v.sum())]",
        sees="['<f8', (300000,), 0.0]",
    ),
    _numpy(
        name="numpy array in Fortran order, not contiguous",
        make="numpy.asfortranarray(numpy.arange(12).reshape(3, 4))[:, ::2]",
        look="[v.shape, v.tolist()]",
        sees="[(3, 2), [[0, 2], [4, 6], [8, 10]]]",
    ),
    _numpy(
        name="numpy scalars",
        make="[numpy.float32(1.5), numpy.int64(7), numpy.bool_(True), numpy.datetime64('2024-01-01')]",
        look="[type(i).__name__ for i in v[:2]] + [str(i) for i in v]",
        sees="['float32', 'int64', '1.5', '7', 'True', '2024-01-01']",
    ),
    _numpy(
        name="numpy array of text and of times",
        make="[numpy.array(['a', 'bcd']), numpy.array(['2024-01-01'], 'M8[D]')]",
        look="[v[0].tolist(), v[1].dtype.str, str(v[1][0])]",
        sees="[['a', 'bcd'], '<M8[D]', '2024-01-01']",
    ),
    _numpy(
        name="numpy record array",
        make="numpy.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')])",
        look="[v.dtype.names, v['a'].tolist(), v['b'].tolist()]",
        sees="[('a', 'b'), [1], [2.5]]",
    ),
    _numpy(
        name="numpy array of objects",
        make="numpy.array([{'a': 1}, None], dtype=object)",
        look="[v.dtype.str, v.tolist()]",
        sees="['|O', [{'a': 1}, None]]",
        elsewhere=False,
    ),
    _numpy(
        name="numpy dtype, ufunc",
        make="[numpy.dtype('f4'), numpy.add]",
        look="[v[0].str, int(v[1](1, 2))]",
        sees="['<f4', 3]",
        elsewhere=False,
    ),
)
"""Rows of values that no definition of the host stands behind."""
