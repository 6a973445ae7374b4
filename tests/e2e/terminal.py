"""Runs a command in a terminal of 24 rows and 80 columns, and prints what the terminal is sent.

terminal.py FILE COMMAND...: standard output of the command is the file; "-" is the terminal too.
"""

import fcntl
import os
import struct
import subprocess
import sys
import termios

ours, its = os.openpty()
fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
out = its if sys.argv[1] == "-" else os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
child = subprocess.Popen(sys.argv[2:], stdin=its, stdout=out, stderr=its, start_new_session=True)
os.close(its)
while True:
    try:
        sent = os.read(ours, 65536)
    except OSError:  # No process has the other side.
        break
    if not sent:
        break
    sys.stdout.buffer.write(sent)
sys.exit(child.wait())
