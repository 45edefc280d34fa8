"""Extension of griffe: the fields of a configuration are its parameters, with types and defaults."""

from griffe import Attribute, Class, Extension, Function, Parameter, ParameterKind, Parameters


class Configurations(Extension):
    """Adds the `__init__` that the decorator `strict` of `huggingface_hub` generates from the fields of a class."""

    def on_class(self, *, cls: Class, **kwargs) -> None:
        """Add the `__init__`, if the class has the decorator."""
        if not any(str(decorator.value) == "strict" for decorator in cls.decorators):
            return
        fields = [member for member in cls.members.values() if isinstance(member, Attribute) and member.annotation]
        parameters = [
            Parameter(field.name, annotation=field.annotation, kind=ParameterKind.keyword_only, default=field.value)
            for field in fields
        ]
        cls.set_member("__init__", Function("__init__", parameters=Parameters(*parameters)))
