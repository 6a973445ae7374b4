"""A Redis server of its own, its keys as JSON, and the scripts that processes send to it."""

import base64
import hashlib
import re
import socket
import subprocess
import threading
import time


class Redis:
    """A redis-server in an empty folder, on a free port."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.connection = None
        for _ in range(500):
            try:
                self.connection = Connection(self.port)
                break
            except OSError:
                time.sleep(0.02)

    def ask(self, *words):
        return self.connection.ask(*words)

    def text(self, *words):
        return read_text(self.ask(*words))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def keys(self):
        """Every key: its type, its time to live in ms (null for none) and its value."""
        found = {}
        for key in sorted(self.text("KEYS", "*")):
            kind, ttl = self.text("TYPE", key), self.ask("PTTL", key)
            found[key] = {"type": kind, "ttl": ttl if ttl >= 0 else None, "value": self.value(key, kind)}
        return found

    def value(self, key, kind):
        if kind == "string":
            raw = self.ask("GET", key)
            try:
                return raw.decode()
            except UnicodeDecodeError:
                return {"base64": base64.b64encode(raw).decode()}
        if kind == "hash":
            return pairs(self.text("HGETALL", key))
        if kind == "zset":
            return pairs(self.text("ZRANGE", key, 0, -1, "WITHSCORES"))
        if kind == "list":
            return self.text("LRANGE", key, 0, -1)
        if kind == "stream":
            return [[entry[0], pairs(entry[1])] for entry in self.text("XRANGE", key, "-", "+")]
        raise SystemExit(f"{key} has the type {kind}, which this recorder does not know")


class Connection:
    """A connection that speaks RESP."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def send(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        sent = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(sent)

    def read(self):
        line = self.file.readline().rstrip(b"\r\n")
        if not line:
            raise EOFError("Redis closed the connection")
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.file.read(length + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        raise SystemExit(f"Redis answered {line.decode(errors='replace')}")


class Monitor:
    """Every script that processes run, as Redis' MONITOR shows it."""

    WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
    ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")
    CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b"}

    def __init__(self, port):
        # The code of each script, and its calls, by its SHA-1.
        self.codes, self.calls = {}, {}
        self.connection = Connection(port)
        self.connection.ask("MONITOR")
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                line = self.connection.read().decode()
            except (EOFError, OSError):
                return
            # What a script itself calls is marked with `lua`.
            if re.match(r'[0-9.]+ \[\d+ [0-9.:]+\] "EVAL', line):
                self.hear([self.ESCAPE.sub(self.unescape, word) for word in self.WORD.findall(line)])

    def unescape(self, found):
        code = found[1]
        return chr(int(code[1:], 16)) if len(code) == 3 else self.CONTROLS.get(code, code)

    def has_run(self, words):
        """Whether a script with these words in its header has run."""
        return any(words in code for code in list(self.codes.values()))

    def hear(self, words):
        sha = words[1]
        if words[0] == "EVAL":
            sha = hashlib.sha1(words[1].encode()).hexdigest()
            self.codes[sha] = words[1]
        count, rest = int(words[2]), words[3:]
        # The bytes of a checkpoint are no text, and no test needs them.
        args = [arg if all(" " <= char <= "~" for char in arg) else "" for arg in rest[count:]]
        self.calls.setdefault(sha, []).append({"keys": rest[:count], "args": args})


def pairs(items):
    return dict(zip(items[::2], items[1::2]))


def read_text(answer):
    if isinstance(answer, bytes):
        return answer.decode()
    if isinstance(answer, list):
        return [read_text(item) for item in answer]
    return answer
