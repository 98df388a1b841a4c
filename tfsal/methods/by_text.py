"""Values written as text, as the command line gives them: `blurred` or `blurred(sigma=5)`."""

import ast

from tfsal.errors import MethodError


def built(text, kinds, what):
    """Makes an object of a name, with keyword arguments in brackets.

    Args:
      text: 'name' or 'name(key=value, ...)', values as Python literals; other words are strings,
        and so may be objects of this kind in turn.
      kinds: {name: callable with keyword arguments}.
      what: what it names, for the error.

    Raises:
      MethodError: there is no such name, or the text is not of that form.
    """
    name, bracket, _ = text.partition("(")
    name = name.strip()
    if name not in kinds:
        raise MethodError(f"There is no {what} '{name}'. There is: {', '.join(kinds)}.")
    try:
        call = ast.parse(text.strip(), mode="eval").body if bracket else None
        arguments = {k.arg: _value(k.value) for k in call.keywords} if bracket else {}
        if bracket and (call.args or not isinstance(call, ast.Call)):
            raise ValueError
        return kinds[name](**arguments)
    except MethodError:
        raise
    except (ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise MethodError(
            f"'{text}' is no {what}: write it as {name} or {name}(key=value, ...)."
        ) from error


def _value(node):
    if isinstance(node, ast.Name | ast.Call):
        return {"true": True, "false": False, "none": None}.get(
            ast.unparse(node), ast.unparse(node)
        )
    return ast.literal_eval(node)
