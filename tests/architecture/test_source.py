from tests.architecture.source import PACKAGES, Module, contexts, imports, module, our_modules


def test_an_import_is_seen_wherever_it_stands():
    found = imports(module("api.x", "import a.b\nfrom c import d\ndef f():\n    import e\n"))
    assert found == {"a.b", "c.d", "e"}


def test_a_relative_import_is_seen_under_its_full_name():
    assert imports(module("api.knowledge.x", "from . import a\nfrom ..problems import b\n")) == {
        "api.knowledge.a",
        "api.problems.b",
    }


def test_a_relative_import_of_a_package_starts_at_the_package_itself():
    assert imports(Module("api", module("api", "from .app import a").tree, is_package=True)) == {"api.app.a"}


def test_modules_of_every_package_are_read():
    assert {module.package for module in our_modules()} == set(PACKAGES)


def test_contexts_are_found_by_their_folders():
    assert {"knowledge", "operations"} <= contexts("domain")
