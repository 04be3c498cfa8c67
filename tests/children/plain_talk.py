"""Code that knows nothing of piactors, of interpreters in which it need not be installed, and uses what it is given."""

import gc


def use_ref(ref, value):
    count = ref.proxy().add(value).get(timeout=20)
    asked = ref.ask("hello", timeout=20)
    return {
        "count": count,
        "size": ref.proxy().size.get(timeout=20),
        "asked": asked,
        "alive": ref.is_alive(),
        "name": ref.name,
    }


def back(thing):
    return thing


def send_object(ref):
    class Own:
        pass

    ref.call("add", Own()).get(timeout=20)


def call(function, *args):
    return function(*args)


def call_often(function, count):
    for number in range(count):
        function(number)
    return count


def method(thing, name, *args):
    return getattr(thing, name)(*args)


def wait(future):
    return future.get(timeout=20)


kept = []


def keep(thing):
    kept.append(thing)
    return len(kept)


def forget():
    kept.clear()
    gc.collect()


def describe(thing):
    return type(thing).__module__, type(thing).__name__


def total(items):
    return sum(items)


def doubled(items):
    for item in items:
        yield item * 2


def first(items, count):
    found = []
    for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found


def objects(count):
    class Own:
        pass

    for _ in range(count):
        yield Own()


def waits(items):
    found = [next(items)]
    try:
        items.get_next(timeout=0.1)
    except Exception as error:
        found.append(type(error).__name__)
    return found
