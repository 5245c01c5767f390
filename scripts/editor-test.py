#!/usr/bin/env python3
"""Tries the schema in yaml-language-server, as an editor would: `make editor-test`.

It starts the language server, opens documents that begin with the modeline, and asks for completions in every
mapping of the language and for the hover text of every key. A key without either fails, and so does a
diagnostic where there should be none, or none where there should be one. It needs node, npm and the npm registry;
what it installs goes into a directory of its own and is removed again.

    scripts/editor-test.py [--server COMMAND] [--excerpt]
"""
import argparse
import json
import os
import pathlib
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

VERSION = "2.0.0"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCHEMA = REPOSITORY / "schema" / "netform.schema.json"
MODELINE = f"# yaml-language-server: $schema={SCHEMA.as_uri()}"
PATIENCE = 30

# What an editor must mark: a name, the document below the modeline, the line (from 0) and what it says.
WRONG = [
    ("unknown key", "version: 1\nname: a\nnamespace: {}\n", 3, "Property namespace is not allowed"),
    ("missing name", "version: 1\n", 1, 'Missing property "name"'),
    ("wrong version", "version: 2\nname: a\n", 1, "Value must be 1"),
    ("wrong type", "version: 1\nname: a\nveths: {}\n", 3, "Expected one of array"),
    ("bad name", "version: 1\nname: Lab\n", 2, "String does not match the pattern"),
    ("long link name",
     "version: 1\nname: a\nveths:\n  - ends:\n      - { namespace: host, name: breezyfrost-veth1 }\n"
     "      - { namespace: host, name: b }\n", 5, "String does not match the pattern"),
    ("one end", "version: 1\nname: a\nveths:\n  - ends:\n      - { namespace: host, name: b }\n",
     5, "too few items"),
    ("unknown word", "version: 1\nname: a\nnamespaces:\n  b:\n    routes: [{ to: default4, type: drop }]\n",
     5, "Value is not accepted. Valid values"),
    ("priority of main", "version: 1\nname: a\nnamespaces:\n  b:\n    rules: [{ priority: 32766, table: 9 }]\n",
     5, "above the maximum of 32765"),
]


class Server:
    """A language server, and what it said."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answers = {}
        self.diagnostics = {}
        self.number = 0
        self.said = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        settings = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
        self.settings = {"yaml": settings}
        self.request("initialize", {
            "processId": os.getpid(),
            "rootUri": REPOSITORY.as_uri(),
            "capabilities": {
                "textDocument": {
                    "completion": {"completionItem": {
                        "documentationFormat": ["markdown"], "snippetSupport": True}},
                    "hover": {"contentFormat": ["markdown"]},
                },
                "workspace": {"configuration": True, "didChangeConfiguration": {}},
            },
        })
        self.notify("initialized", {})
        self.notify("workspace/didChangeConfiguration", {"settings": self.settings})

    def read(self):
        stream = self.process.stdout
        while True:
            length = 0
            while line := stream.readline().strip():
                name, value = line.split(b":", 1)
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                self.said.put(None)
                return
            self.said.put(json.loads(stream.read(length)))

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        self.number += 1
        number = self.number
        self.send({"id": number, "method": method, "params": params})
        self.wait(lambda: number in self.answers)
        return self.answers.pop(number)

    def wait(self, until):
        """Takes in what the server says until something is so."""
        while not until():
            message = self.said.get(timeout=PATIENCE)
            if message is None:
                sys.exit("the language server ended")
            if "method" not in message:
                if "error" in message:
                    sys.exit(f"the language server refuses: {message['error']}")
                self.answers[message["id"]] = message.get("result")
            elif message["method"] == "textDocument/publishDiagnostics":
                self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
            elif message["method"] == "workspace/configuration":
                items = message["params"]["items"]
                values = [self.settings.get(item.get("section", ""), {}) for item in items]
                self.send({"id": message["id"], "result": values})
            elif "id" in message:
                self.send({"id": message["id"], "result": None})

    def open(self, uri, text):
        """Opens a document and returns its diagnostics."""
        self.notify("textDocument/didOpen", {
            "textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}})
        self.wait(lambda: uri in self.diagnostics)
        return self.diagnostics[uri]

    def at(self, method, uri, line, character):
        return self.request(f"textDocument/{method}", {
            "textDocument": {"uri": uri}, "position": {"line": line, "character": character}})

    def close(self):
        self.request("shutdown", None)
        self.notify("exit", None)
        self.process.wait(PATIENCE)


def alternatives(schema):
    """The schema itself and what it may be instead."""
    return [schema, *schema.get("anyOf", [])]


def inside(schema):
    """What is below a value: (`key`, name, schema) for a key, (`item`, "", schema) for an item of a list."""
    for schema in alternatives(schema):
        for name, below in schema.get("properties", {}).items():
            yield "key", name, below
        if isinstance(below := schema.get("additionalProperties"), dict):
            name = "net.ipv4.conf.eth0.rp_filter" if "net[" in json.dumps(schema) else "sample"
            yield "entry", name, below
        if "items" in schema:
            yield "item", "", schema["items"]


def mappings(schema, path=()):
    """Every mapping with keys of its own: the way to it, and its schema."""
    if "properties" in schema:
        yield path, schema
    for kind, name, below in inside(schema):
        yield from mappings(below, (*path, (kind, name)))


def lines_to(path, last):
    """A document in which the mapping at the end of the way has `last`, and the place behind that."""
    lines, indent, prefix = [MODELINE, ""], 0, ""
    for kind, name in path:
        if kind == "item":
            prefix += "- "
        else:
            lines.append(" " * indent + prefix + name + ":")
            indent += 2 + len(prefix)
            prefix = ""
    lines.append(" " * indent + prefix + last)
    return "\n".join(lines) + "\n", len(lines) - 1, indent + len(prefix)


def words(path, key=""):
    """A way as a person reads it: `namespaces.*.routes[].via`."""
    text = ""
    for kind, name in path:
        text += "[]" if kind == "item" else ".*" if kind == "entry" else f".{name}"
    return f"{text}.{key}".strip(".") if key else text.strip(".") or "the topology"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--server", help="the language server to run instead of installing one")
    parser.add_argument("--excerpt", action="store_true", help="print what the editor shows for each key")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        command = shlex.split(arguments.server) if arguments.server else install(directory)
        server = Server(command)
        faults = try_out(server, pathlib.Path(directory), arguments.excerpt)
        server.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


def install(directory):
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: install Node.js, or give a language server with --server")
    package = f"yaml-language-server@{VERSION}"
    print(f"installing {package} for this test", file=sys.stderr)
    subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", directory, package],
                   check=True, stdout=subprocess.DEVNULL)
    return [f"{directory}/node_modules/.bin/yaml-language-server", "--stdio"]


def try_out(server, directory, excerpt):
    schema = json.loads(SCHEMA.read_text())
    faults, keys, places, examples, number = [], 0, 0, 0, 0

    def document():
        nonlocal number
        number += 1
        return (directory / f"{number}.yaml").as_uri()

    for path, mapping in mappings(schema):
        names = set(mapping["properties"])
        text, line, column = lines_to(path, "")
        uri = document()
        server.open(uri, text)
        found = server.at("completion", uri, line, column) or {}
        items = found.get("items", found) if isinstance(found, dict) else found
        offered = {item["label"]: item for item in items}
        places += 1
        for name in sorted(names - set(offered)):
            faults.append(f"no completion for {words(path, name)}")
        for name in sorted(names & set(offered)):
            if not offered[name].get("documentation"):
                faults.append(f"the completion of {words(path, name)} has no text")
        for kind, name, below in inside(mapping):
            if kind == "item":
                continue
            text, line, column = lines_to(path, f"{name}:")
            uri = document()
            server.open(uri, text)
            hover = server.at("hover", uri, line, column + 1)
            said = ((hover or {}).get("contents") or {}).get("value", "")
            keys += 1
            if below.get("description", "-") not in said.replace("\\", ""):
                faults.append(f"no hover text for {words(path, name)}")
            for example in map(json.dumps, below.get("examples", [])):
                text, line, column = lines_to(path, f"{name}: {example}")
                examples += 1
                # What else the document lacks is no fault of the example.
                faults.extend(f"{words(path, name)}: {example}: {mark['message']}"
                              for mark in server.open(document(), text)
                              if mark["range"]["start"]["line"] == line
                              and not mark["message"].startswith(("Missing", "Array has too few")))
            if excerpt:
                print(f"--- {words(path, name)}\n{said}\n")
    specs = sorted((REPOSITORY / "specs").glob("*.yaml"))
    for path in specs:
        for found in server.open(path.as_uri(), path.read_text()):
            faults.append(f"{path.name}:{found['range']['start']['line'] + 1}: {found['message']}")
    for name, text, line, message in WRONG:
        found = server.open(document(), f"{MODELINE}\n{text}")
        if not any(it["range"]["start"]["line"] == line and message in it["message"] for it in found):
            faults.append(f"{name}: no diagnostic says {message!r} on line {line}, but {found}")
    print(f"{places} mappings with completions, {keys} keys with hover text, {examples} examples, {len(specs)} specs without a "
          f"mark, {len(WRONG)} mistakes marked: {len(faults)} faults")
    return faults


if __name__ == "__main__":
    main()
