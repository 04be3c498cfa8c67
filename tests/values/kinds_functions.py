"""Rows of the matrix: functions of the host's own, and the kinds that are refused."""

from __future__ import annotations

from functools import partial

from tests.values.kinds import Kind

_function = partial(Kind, group="Functions of the host")
_refused = partial(Kind, group="What is refused: it belongs to one process", refused=True, look="type(v).__name__")
_here = partial(_refused, ways=("argument", "global", "default"), places=("script", "notebook", "closure"))

FUNCTIONS = (
    _function(name="function, with its attributes", define="def plain_function(a, /, b=2, *rest, c, **more):\n    'Its text.'\n    return [a, b, rest, c, more]\nplain_function.tag = 't'", make="plain_function", look="[v(1, c=3), v(1, 5, 6, c=7, d=8), v.__doc__, v.tag, v.__name__]", sees="[[1, 2, (), 3, {}], [1, 5, (6,), 7, {'d': 8}], 'Its text.', 't', 'plain_function']", own="v is plain_function"),
    _function(name="functions that call each other", define="def is_even(n): return n == 0 or is_odd(n - 1)\ndef is_odd(n): return n != 0 and is_even(n - 1)", make="[is_even, is_odd]", look="[v[0](10), v[1](10), v[0](7)]", sees="[True, False, False]", own="v[0] is is_even and v[1] is is_odd"),
    _function(name="lambdas in containers", define="table = {'add': lambda a, b: a + b, 'more': [lambda x: x * 2]}", make="table", look="[v['add'](1, 2), v['more'][0](4)]", sees="[3, 8]"),
    _function(name="closure over values and functions", define="def adder(n):\n    def helper(x): return x + n\n    def add(x): return helper(x) * 10\n    return add", make="adder(3)", look="v(1)", sees="40"),
    _function(name="closure with nonlocal state", define="def counter(n):\n    def count():\n        nonlocal n\n        n += 1\n        return n\n    def peek(): return n\n    return count, peek", make="counter(5)", look="[(w := v[0]()) - v[1](), w > 5]", sees="[0, True]"),
    _function(name="recursive local function", define="def recursive():\n    def fact(n): return 1 if n < 2 else n * fact(n - 1)\n    return fact", make="recursive()", look="v(5)", sees="120"),
    _function(name="decorated, functools.wraps", define="def twice(f):\n    @functools.wraps(f)\n    def wrapper(*args):\n        return [f(*args), f(*args)]\n    return wrapper\n@twice\ndef decorated(x):\n    'Documented.'\n    return x + 1", make="decorated", look="[v(1), v.__name__, v.__doc__, v.__wrapped__(1)]", sees="[[2, 2], 'decorated', 'Documented.', 2]", own="v is decorated"),
    _function(name="lru_cache, cache", define="@functools.lru_cache(maxsize=8)\ndef cached(n): return n if n < 2 else cached(n - 1) + cached(n - 2)", make="cached", look="[v(10), v.cache_info().maxsize, v.__name__]", sees="[55, 8, 'cached']", own="v is cached"),
    _function(name="singledispatch", define="class Dispatched: pass\n@functools.singledispatch\ndef show(x): return 'object'\n@show.register\ndef _show_int(x: int): return 'int'\n@show.register(Dispatched)\ndef _show_dispatched(x): return 'Dispatched'\nclass ShowMethod:\n    @functools.singledispatchmethod\n    def show(self, x): return 'object'\n    @show.register\n    def _(self, x: int): return 'int'", make="[show, Dispatched(), ShowMethod()]", look="[v[0]('s'), v[0](1), v[0](v[1]), v[2].show(1), v[2].show('s')]", sees="['object', 'int', 'Dispatched', 'int', 'object']", own="v[0] is show"),
    _function(name="partial, partialmethod", define="def three(a, b, c): return [a, b, c]\nclass Partly:\n    def f(self, a, b): return [a, b]\n    g = functools.partialmethod(f, 1)", make="[functools.partial(three, 1, c=3), Partly()]", look="[v[0](2), v[1].g(2)]", sees="[[1, 2, 3], [1, 2]]", own="v[0].func is three"),
    _function(name="generator function", define="def generate(n):\n    for i in range(n):\n        got = yield i\n        if got: yield got", make="generate", look="list(v(3))", sees="[0, 1, 2]", own="v is generate"),
    _function(name="async function, async generator function", define="async def later(x): return x + 1\nasync def several():\n    yield 1\n    yield await later(1)\nasync def gathered(): return [await later(1), [i async for i in several()]]", make="gathered", look="asyncio.run(v())", sees="[2, [1, 2]]", own="v is gathered"),
    _function(name="default arguments that are objects", define="class Default: pass\nSENTINEL = Default()\ndef with_default(x=SENTINEL, *, key=SENTINEL, many=[1]): return [type(x).__name__, x is key, many]", make="with_default", look="v()", sees="['Default', True, [1]]", own="v is with_default"),
    _function(name="a sentinel compared with `is`", define="class Sentinel: pass\nUNSET = Sentinel()\ndef is_unset(value=UNSET): return value is UNSET", make="is_unset", look="[v(), v(1)]", sees="[True, False]", own="v() is True"),
    _function(name="names that are looked up in globals()", define="DYNAMIC_X = 41\ndef looks_up(): return DYNAMIC_X + (lambda: 1)()\ndef comprehends(): return [DYNAMIC_X + i for i in range(2)]", make="[looks_up, comprehends]", look="[v[0](), v[1]()]", sees="[42, [41, 42]]"),
    _function(name="imports within, modules as globals", define="def importing():\n    import json as j\n    from os import path\n    return j.dumps([path.basename('/a/b'), math.floor(1.5)])", make="importing", look="v()", sees="'[\"b\", 1]'"),
    _function(name="match, walrus, star expressions, try in code", define="def modern(x):\n    match x:\n        case {'k': [a, *rest]} if (n := len(rest)): return [a, n]\n        case int() | str(): return 'scalar'\n    try: raise ValueError(1)\n    except* ValueError as group: return_value = len(group.exceptions)\n    return return_value", make="modern", look="[v({'k': [1, 2, 3]}), v(1), v(None)]", sees="[[1, 2], 'scalar', 1]", own="v is modern"),
    _function(name="context variable", define="CONTEXT = contextvars.ContextVar('CONTEXT', default=1)\ndef context_value(): return CONTEXT.get()", make="context_value", look="v()", sees="1", own="v is context_value"),
    _function(name="logger and regular expression as globals", define="LOG = logging.getLogger('matrix.log')\nWORD = re.compile('[a-z]+')\ndef uses_them(text):\n    LOG.debug('looking at %s', text)\n    return [LOG.name, WORD.findall(text)]", make="uses_them", look="v('ab 1 cd')", sees="['matrix.log', ['ab', 'cd']]"),
    _function(name="contextmanager, class made with its help", define="@contextlib.contextmanager\ndef managed():\n    yield 'inside'\ndef uses_manager():\n    with managed() as got: return got", make="uses_manager", look="v()", sees="'inside'", own="v is uses_manager"),
    _function(name="property, staticmethod, classmethod objects", define="def read_it(self): return 5\nclass Late: pass\nLate.p = property(read_it)\nLate.s = staticmethod(lambda: 6)\nLate.c = classmethod(lambda cls: cls.__name__)", make="Late()", look="[v.p, v.s(), v.c()]", sees="[5, 6, 'Late']", own="type(v) is Late"),
)  # fmt: skip

REFUSED = (
    _refused(name="Lock", make="threading.Lock()", sees="'lock'"),
    _refused(name="RLock", make="threading.RLock()", sees="'RLock'"),
    _refused(name="Condition", make="threading.Condition()", sees="'Condition'"),
    _refused(name="threading.Event", make="threading.Event()", sees="'Event'"),
    _refused(name="Semaphore, BoundedSemaphore", make="[threading.Semaphore(), threading.BoundedSemaphore()]", look="[type(i).__name__ for i in v]", sees="['Semaphore', 'BoundedSemaphore']"),
    _refused(name="Barrier", make="threading.Barrier(1)", sees="'Barrier'"),
    _refused(name="queue.Queue, PriorityQueue", make="[queue.Queue(), queue.PriorityQueue()]", look="[type(i).__name__ for i in v]", sees="['Queue', 'PriorityQueue']"),
    _refused(name="SimpleQueue", make="queue.SimpleQueue()", sees="'SimpleQueue'"),
    _refused(name="thread", make="threading.Thread(target=print)", sees="'Thread'"),
    _refused(name="threading.local", make="threading.local()", sees="'_local'"),
    _refused(name="open file", make="open(sys.executable, 'rb')", sees="'BufferedReader'"),
    _refused(name="text file", make="open(os.devnull, 'w')", sees="'TextIOWrapper'"),
    _refused(name="sys.stdout", make="sys.__stdout__", sees="'TextIOWrapper'"),
    _refused(name="TemporaryFile, NamedTemporaryFile", make="tempfile.NamedTemporaryFile()", sees="'_TemporaryFileWrapper'"),
    _refused(name="TemporaryDirectory", make="tempfile.TemporaryDirectory()", sees="'TemporaryDirectory'"),
    _refused(name="generator that has begun", define="def begun():\n    made = (i for i in range(3))\n    next(made)\n    return made", make="begun()", sees="'generator'"),
    _refused(name="coroutine", define="async def never_run(): pass\ndef coroutine():\n    made = never_run()\n    weakref.finalize(made, len, '')\n    return made", make="coroutine()", sees="'coroutine'", ways=("argument", "exception", "global", "default")),
    _refused(name="event loop", make="asyncio.new_event_loop()", sees="'_UnixSelectorEventLoop'"),
    _refused(name="asyncio.Lock, asyncio.Queue", make="[asyncio.Lock(), asyncio.Queue()]", look="[type(i).__name__ for i in v]", sees="['Lock', 'Queue']"),
    _refused(name="executor", make="concurrent.futures.ThreadPoolExecutor(1)", sees="'ThreadPoolExecutor'"),
    _refused(name="concurrent.futures.Future", make="concurrent.futures.Future()", sees="'Future'"),
    _refused(name="database connection", make="sqlite3.connect(':memory:')", sees="'Connection'"),
    _refused(name="weak reference", define="class Referred: pass\nREFERRED = Referred()", make="weakref.ref(REFERRED)", look="type(v).__name__.lower()", sees="'referencetype'"),
    _refused(name="traceback", define="def traced():\n    try: raise ValueError(1)\n    except ValueError as error: return error.__traceback__", make="traced()", sees="'traceback'"),
    _refused(name="object with a lock among its attributes", define="class Session:\n    def __init__(self): self.lock = threading.Lock()", make="Session()", sees="'Session'"),
    _here(name="ref of an actor in a thread", define="class ThreadActor(pykka.ThreadingActor):\n    def poke(self): return 1", make="ThreadActor.start()", sees="'ActorRef'"),
    _here(name="proxy of an actor in a thread", define="class ThreadActorToo(pykka.ThreadingActor):\n    def poke(self): return 1", make="ThreadActorToo.start().proxy()", sees="'ActorProxy'"),
    _here(name="pykka.ThreadingFuture", make="pykka.ThreadingFuture()", sees="'ThreadingFuture'"),
    _here(name="bound method of an actor's proxy", define="class ThreadActorThree(pykka.ThreadingActor):\n    def poke(self): return 1", make="ThreadActorThree.start().proxy().poke", sees="'CallableProxy'"),
    _here(name="closure over a ref of an actor in a thread", define="class ThreadActorFour(pykka.ThreadingActor):\n    def poke(self): return 1\ndef callback():\n    ref = ThreadActorFour.start()\n    def tell(): ref.tell(1)\n    return tell", make="callback()", sees="'function'"),
)  # fmt: skip
