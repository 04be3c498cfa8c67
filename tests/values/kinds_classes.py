"""Rows of the matrix: classes of the host's own, and instances of them."""

from __future__ import annotations

from functools import partial

from tests.values.kinds import Kind

_class = partial(Kind, group="Classes of the host, and their instances")
_enum = partial(Kind, group="Enumerations of the host")
_typing = partial(Kind, group="Classes made with typing")
_error = partial(Kind, group="Exceptions of the host")

CLASSES = (
    _class(
        name="instance of a plain class",
        define="""
        class Plain:
            def __init__(self, x): self.x = x
            def double(self): return self.x * 2
    """,
        make="Plain(4)",
        look="[type(v).__name__, type(v).__qualname__.rpartition('.')[2], v.double()]",
        sees="['Plain', 'Plain', 8]",
        own="type(v) is Plain",
    ),
    _class(
        name="a class itself",
        define="class Itself:\n    '''Its text.'''\n    kind = 'k'",
        make="Itself",
        look="[v.__name__, v.__doc__, v.kind, v().kind]",
        sees="['Itself', 'Its text.', 'k', 'k']",
        own="v is Itself",
        codeless=True,
    ),
    _class(
        name="base class, super() chain, isinstance",
        define="""
        class Base:
            def __init__(self, x): self.x = x
            def chain(self): return ['Base']
        class Left(Base):
            def chain(self): return ['Left', *super().chain()]
        class Right(Base):
            def chain(self): return ['Right', *super().chain()]
        class Both(Left, Right):
            def __init__(self, x): super().__init__(x + 1)
            def chain(self): return ['Both', *super().chain()]
    """,
        make="Both(1)",
        look="[v.x, v.chain(), [c.__name__ for c in type(v).__mro__]]",
        sees="[2, ['Both', 'Left', 'Right', 'Base'], ['Both', 'Left', 'Right', 'Base', 'object']]",
        own="isinstance(v, Base) and isinstance(v, Left) and type(v).__mro__[2] is Right",
    ),
    _class(
        name="dataclass",
        define="""
        @dataclasses.dataclass(order=True)
        class Dated:
            x: int
            rest: list = dataclasses.field(default_factory=list, compare=False)
    """,
        make="Dated(3)",
        look="[repr(v).rpartition('.')[2], v.rest, dataclasses.is_dataclass(v), [f.name for f in dataclasses.fields(v)], dataclasses.replace(v, x=4).x]",
        sees="['Dated(x=3, rest=[])', [], True, ['x', 'rest'], 4]",
        own="v == Dated(3) and v < Dated(4)",
    ),
    _class(
        name="dataclass, frozen and with slots",
        define="""
        @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
        class Frozen:
            x: int
            y: str = 'y'
    """,
        make="Frozen(x=3)",
        look="[v.x, v.y, hasattr(v, '__dict__'), hash(v) == hash((3, 'y'))]",
        sees="[3, 'y', False, True]",
        own="v == Frozen(x=3) and {v: 1}[Frozen(x=3)] == 1",
    ),
    _class(
        name="attrs class",
        define="""
        @attrs.define(order=True)
        class Attrs:
            x: int = attrs.field(validator=attrs.validators.instance_of(int))
            y: list = attrs.Factory(list)
    """,
        make="Attrs(3)",
        look="[v.x, v.y, attrs.asdict(v), attrs.evolve(v, x=4).x]",
        sees="[3, [], {'x': 3, 'y': []}, 4]",
        own="v == Attrs(3)",
        elsewhere=False,
    ),
    _class(
        name="attrs class, frozen, without slots",
        define="@attrs.frozen(slots=False)\nclass AttrsFrozen:\n    x: int",
        make="AttrsFrozen(3)",
        look="[v.x, hash(v) == hash(attrs.evolve(v))]",
        sees="[3, True]",
        own="v == AttrsFrozen(3)",
        elsewhere=False,
    ),
    _class(
        name="class with __slots__",
        define="""
        class Slotted:
            __slots__ = ('a', 'b')
            def __init__(self): self.a = 1
        class SlottedToo(Slotted):
            __slots__ = ('c',)
    """,
        make="SlottedToo()",
        look="[v.a, hasattr(v, 'b'), hasattr(v, '__dict__')]",
        sees="[1, False, False]",
        own="type(v) is SlottedToo",
    ),
    _class(
        name="properties, class and static methods",
        define="""
        class Props:
            def __init__(self): self._x = 1
            @property
            def x(self): return self._x
            @x.setter
            def x(self, value): self._x = value * 10
            @classmethod
            def made(cls): return cls()
            @staticmethod
            def add(a, b): return a + b
    """,
        make="Props()",
        look="[v.x, type(type(v).made()).__name__, v.add(1, 2), [setattr(w := type(v)(), 'x', 2), w.x][1]]",
        sees="[1, 'Props', 3, 20]",
        own="type(type(v).made()) is Props",
    ),
    _class(
        name="cached_property",
        define="""
        class Caching:
            calls = 0
            @functools.cached_property
            def words(self): return ['once']
    """,
        make="Caching()",
        look="[v.words, v.words is v.words]",
        sees="[['once'], True]",
        own="type(v) is Caching",
    ),
    _class(
        name="nested classes",
        define="""
        class Outer:
            class Inner:
                class Deep: x = 1
            def make(self): return Outer.Inner.Deep()
    """,
        make="[Outer.Inner(), Outer().make()]",
        look="[type(v[0]).__name__, type(v[1]).__qualname__.rpartition('Outer')[2], v[1].x]",
        sees="['Inner', '.Inner.Deep', 1]",
        own="type(v[0]) is Outer.Inner and type(v[1]) is Outer.Inner.Deep",
    ),
    _class(
        name="abstract base class, registered subclass",
        define="""
        class Abstract(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
        class Concrete(Abstract):
            def area(self): return 9
        class Virtual: pass
        Abstract.register(Virtual)
    """,
        make="[Concrete(), Virtual(), Abstract]",
        look="[v[0].area(), isinstance(v[0], v[2]), isinstance(v[1], v[2]), sorted(v[2].__abstractmethods__)]",
        sees="[9, True, True, ['area']]",
        own="v[2] is Abstract and isinstance(v[1], Abstract)",
    ),
    _class(
        name="metaclass with arguments that it requires",
        define="""
        class Meta(type):
            def __new__(meta, name, bases, body, *, table):
                made = super().__new__(meta, name, bases, body)
                made.table = table
                return made
            def __init__(cls, name, bases, body, *, table): super().__init__(name, bases, body)
            def __len__(cls): return 7
        class Row(metaclass=Meta, table='rows'):
            x = 1
    """,
        make="Row()",
        look="[type(v).table, len(type(v)), v.x, type(type(v)).__name__]",
        sees="['rows', 7, 1, 'Meta']",
        own="type(v) is Row and type(type(v)) is Meta",
    ),
    _class(
        name="__init_subclass__ with arguments and a registry",
        define="""
        class Plugin:
            registry = {}
            def __init_subclass__(cls, *, key, **rest):
                super().__init_subclass__(**rest)
                Plugin.registry[key] = cls
        class Red(Plugin, key='red'): pass
        class Blue(Plugin, key='blue'): pass
    """,
        make="Red()",
        look="[sorted(v.registry), v.registry['blue'].__name__, v.registry['red'] is type(v)]",
        sees="[['blue', 'red'], 'Blue', True]",
        own="Plugin.registry['red'] is type(v) and type(v) is Red",
    ),
    _class(
        name="descriptors with __set_name__",
        define="""
        class Field:
            def __set_name__(self, owner, name): self.name, self.owner = name, owner.__name__
            def __get__(self, instance, owner): return self if instance is None else instance.__dict__.get(self.name, 'unset')
            def __set__(self, instance, value): instance.__dict__[self.name] = value
        class Model:
            title = Field()
    """,
        make="Model()",
        look="[v.title, type(v).title.name, type(v).title.owner]",
        sees="['unset', 'title', 'Model']",
        own="type(v).title is Model.__dict__['title']",
    ),
    _class(
        name="__getstate__, __setstate__, __reduce__, __getnewargs__",
        define="""
        class Stateful:
            def __init__(self): self.a, self.b = 1, 2
            def __getstate__(self): return {'a': self.a}
            def __setstate__(self, state): self.a, self.b = state['a'], 'remade'
        class Reduced:
            def __init__(self, x): self.x = x
            def __reduce__(self): return (Reduced, (self.x,))
        class Pair(tuple):
            def __new__(cls, a, b): return super().__new__(cls, (a, b))
            def __getnewargs__(self): return tuple(self)
    """,
        make="[Stateful(), Reduced(3), Pair(1, 2)]",
        look="[v[0].a, v[1].x, tuple(v[2])]",
        sees="[1, 3, (1, 2)]",
        own="type(v[0]) is Stateful and type(v[1]) is Reduced and type(v[2]) is Pair",
    ),
    _class(
        name="subclasses of builtins",
        define="""
        class MyInt(int): unit = 'm'
        class MyDict(dict):
            def __missing__(self, key): return key * 2
        class MyList(list): pass
        class MyStr(str): pass
    """,
        make="[MyInt(3), MyDict(a=1), MyList([1]), MyStr('s')]",
        look="[v[0] + 1, v[0].unit, v[1]['b'], len(v[2]), v[3].upper(), [type(i).__name__ for i in v]]",
        sees="[4, 'm', 'bb', 1, 'S', ['MyInt', 'MyDict', 'MyList', 'MyStr']]",
        own="[type(i) for i in v] == [MyInt, MyDict, MyList, MyStr]",
    ),
    _class(
        name="objects that refer to each other",
        define="""
        class Node:
            def __init__(self): self.next = None
        def circle():
            one, two = Node(), Node()
            one.next, two.next = two, one
            return one
    """,
        make="circle()",
        look="[v.next.next is v, v.next is not v]",
        sees="[True, True]",
        own="type(v) is Node and type(v.next) is Node",
    ),
    _class(
        name="classes that refer to each other",
        define="""
        class Hen:
            def lay(self): return Egg()
        class Egg:
            def hatch(self): return Hen()
    """,
        make="Hen()",
        look="[type(v.lay()).__name__, type(v.lay().hatch()) is type(v)]",
        sees="['Egg', True]",
        own="type(v.lay()) is Egg and type(v.lay().hatch()) is Hen",
    ),
    _class(
        name="class made at run time, with attributes set later",
        define="""
        Dynamic = type('Dynamic', (), {'x': 1, '__module__': __name__})
        Dynamic.later = lambda self: self.x + 1
    """,
        make="Dynamic()",
        look="[v.x, v.later()]",
        sees="[1, 2]",
        own="type(v) is Dynamic",
    ),
    _class(
        name="class decorated by a function; total_ordering",
        define="""
        def tagged(cls):
            cls.tag = cls.__name__.lower()
            return cls
        @tagged
        @functools.total_ordering
        class Ordered:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
            def __hash__(self): return hash(self.x)
            def __lt__(self, other): return self.x < other.x
    """,
        make="Ordered(1)",
        look="[v.tag, v <= v, v >= v]",
        sees="['ordered', True, True]",
        own="v == Ordered(1) and v < Ordered(2)",
    ),
    _class(
        name="callable, context manager, iterator of a class",
        define="""
        class Doer:
            def __init__(self): self.n = 0
            def __call__(self, x): return x + 1
            def __enter__(self): return 'in'
            def __exit__(self, *error): return True
            def __iter__(self): return iter([1, 2])
            def __getattr__(self, name):
                if name.startswith('__'): raise AttributeError(name)
                return name
    """,
        make="Doer()",
        look="[v(1), v.__enter__(), list(v), v.anything]",
        sees="[2, 'in', [1, 2], 'anything']",
        own="type(v) is Doer",
    ),
    _class(
        name="bound methods of an instance and of a class",
        define="""
        class Bound:
            def __init__(self, x): self.x = x
            def get(self, y): return self.x + y
            @classmethod
            def name(cls): return cls.__name__
    """,
        make="[Bound(3).get, Bound.name]",
        look="[v[0](1), v[1](), v[0].__name__]",
        sees="[4, 'Bound', 'get']",
        own="type(v[0].__self__) is Bound and v[1].__self__ is Bound",
    ),
    _enum(
        name="Enum",
        define="class Colour(enum.Enum):\n    RED = 1\n    ALSO_RED = 1\n    BLUE = 'b'\n    def low(self): return self.name.lower()",
        make="Colour.RED",
        look="[v.name, v.value, v.low(), len(type(v)), type(v)('b').name, type(v).ALSO_RED is v, type(v).__module__ == type(v).low.__module__]",
        sees="['RED', 1, 'red', 2, 'BLUE', True, True]",
        own="v is Colour.RED",
    ),
    _enum(
        name="Flag, IntFlag",
        define="class Perm(enum.Flag):\n    R = enum.auto()\n    W = enum.auto()\nclass IntPerm(enum.IntFlag):\n    X = 4\n    Y = 8",
        make="[Perm.R | Perm.W, IntPerm.X | IntPerm.Y]",
        look="[v[0].value, int(v[1]), [m.name for m in v[0]]]",
        sees="[3, 12, ['R', 'W']]",
        own="v[0] == Perm.R | Perm.W and Perm.R in v[0] and type(v[1]) is IntPerm",
        codeless=True,
    ),
    _enum(
        name="IntEnum, StrEnum",
        define="class Level(enum.IntEnum):\n    LOW = 1\n    HIGH = 2\nclass Word(enum.StrEnum):\n    HELLO = enum.auto()",
        make="[Level.HIGH, Word.HELLO]",
        look="[v[0] + 1, v[1].upper(), v[0] > 1]",
        sees="[3, 'HELLO', True]",
        own="v[0] is Level.HIGH and v[1] is Word.HELLO",
        codeless=True,
    ),
    _enum(
        name="Enum with __new__, and as keys of a dict",
        define="class Planet(enum.Enum):\n    def __new__(cls, value, mass):\n        made = object.__new__(cls)\n        made._value_, made.mass = value, mass\n        return made\n    EARTH = (1, 5.9)\n    MARS = (2, 0.6)\n    def heavy(self): return self.mass > 1",
        make="{Planet.EARTH: 'home'}",
        look="[[[k.mass, k.heavy()] for k in v], list(v.values())]",
        sees="[[[5.9, True]], ['home']]",
        own="v[Planet.EARTH] == 'home'",
    ),
    _typing(
        name="Generic, TypeVar, ParamSpec",
        define="T_co = typing.TypeVar('T_co', covariant=True)\nP_box = typing.ParamSpec('P_box')\nclass Box(typing.Generic[T_co]):\n    def __init__(self, x: T_co) -> None: self.x = x\nclass IntBox(Box[int]): pass\nclass Called(typing.Generic[P_box, T_co]): pass",
        make="[IntBox(3), Box[str]('s'), T_co, P_box, Called[[int], str]]",
        look="[v[0].x, v[1].x, v[2].__name__, v[2].__covariant__, v[3].__name__, type(v[1].__orig_class__.__args__[0]) is type]",
        sees="[3, 's', 'T_co', True, 'P_box', True]",
        own="isinstance(v[0], Box) and v[2] is T_co and v[3] is P_box and v[1].__orig_class__ == Box[str] and v[4] == Called[[int], str]",
    ),
    _typing(
        name="NewType, annotations of the host's classes",
        define="UserId = typing.NewType('UserId', int)\nclass Annotated:\n    user: UserId = UserId(3)\n    others: 'list[Annotated]'",
        make="[UserId, Annotated()]",
        look="[v[0](5), v[0].__name__, v[1].user, sorted(type(v[1]).__annotations__)]",
        sees="[5, 'UserId', 3, ['others', 'user']]",
        own="v[0] is UserId and type(v[1]).__annotations__['user'] is UserId",
        codeless=True,
    ),
    _typing(
        name="NamedTuple, namedtuple",
        define="class Spot(typing.NamedTuple):\n    x: int\n    y: int = 2\n    def total(self): return self.x + self.y\nOldSpot = collections.namedtuple('OldSpot', 'a b')",
        make="[Spot(1), OldSpot(3, 4)]",
        look="[v[0].total(), v[0]._asdict(), v[1].b, v[0]._replace(x=5).x]",
        sees="[3, {'x': 1, 'y': 2}, 4, 5]",
        own="type(v[0]) is Spot and type(v[1]) is OldSpot and v[0] == Spot(1)",
    ),
    _typing(
        name="TypedDict",
        define="class Movie(typing.TypedDict, total=False):\n    title: str",
        make="[Movie(title='x'), Movie]",
        look="[v[0], v[1].__total__, sorted(v[1].__annotations__)]",
        sees="[{'title': 'x'}, False, ['title']]",
        own="v[1] is Movie",
        codeless=True,
    ),
    _typing(
        name="Protocol, checked at run time",
        define="@typing.runtime_checkable\nclass Closes(typing.Protocol):\n    def close(self) -> None: ...\nclass Door:\n    def close(self): pass",
        make="[Closes, Door()]",
        look="[isinstance(v[1], v[0]), isinstance(3, v[0])]",
        sees="[True, False]",
        own="v[0] is Closes and isinstance(v[1], Closes)",
    ),
    _error(
        name="exception with a constructor of its own",
        define="""
        class Missing(LookupError):
            def __init__(self, key, where):
                super().__init__(f'{key} in {where}')
                self.key, self.where = key, where
            def __reduce__(self): return (Missing, (self.key, self.where))
    """,
        make="Missing('k', 'w')",
        look="[str(v), v.key, v.where]",
        sees="['k in w', 'k', 'w']",
        own="type(v) is Missing and isinstance(v, LookupError)",
    ),
    _error(
        name="exception with keyword arguments, notes",
        define="class Plainly(Exception):\n    code = 5\ndef plainly():\n    made = Plainly(1, 'b')\n    made.more = [2]\n    made.add_note('a note')\n    return made",
        make="plainly()",
        look="[v.args, v.code, v.more, v.__notes__]",
        sees="[(1, 'b'), 5, [2], ['a note']]",
        own="type(v) is Plainly",
        codeless=True,
    ),
    _error(
        name="exception group of the host's exceptions",
        define="class Grouped(ValueError): pass",
        make="ExceptionGroup('two', [Grouped(1), TypeError('t')])",
        look="[v.message, [type(e).__name__ for e in v.exceptions]]",
        sees="['two', ['Grouped', 'TypeError']]",
        own="type(v.exceptions[0]) is Grouped",
        codeless=True,
    ),
)
