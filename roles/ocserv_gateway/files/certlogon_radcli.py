# SPDX-License-Identifier: GPL-3.0-or-later
"""Have radcli, the library by which ocserv asks RADIUS servers, judge its configuration: `certlogon_radcli.py FILE`; silent if it is good.

ocserv itself tests it only when it starts, and then ends. The library says to syslog what it does not like.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys


def main(path: str) -> str:
    """What is wrong; empty if nothing."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("radcli") or "libradcli.so.4")
    except OSError as error:
        return f"the library radcli is not there, without which ocserv has no RADIUS: {error}"
    library.rc_read_config.restype = ctypes.c_void_p
    library.rc_conf_str.restype = ctypes.c_char_p
    handle = ctypes.c_void_p(library.rc_read_config(path.encode()))
    if not handle:
        return f"radcli does not take {path}; it says why to syslog"
    dictionary = library.rc_conf_str(handle, b"dictionary")
    if library.rc_read_dictionary(handle, dictionary):
        return f"radcli cannot read its dictionary {dictionary.decode()}; set ocserv_radius_dictionary"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
