# SPDX-License-Identifier: BSD-3-Clause
"""vnic-bench: back-ends beside each other under the same guests. What runs where:

    machine.py   CPUs that are quiet, hugepages, the environment a figure belongs to
    backends.py  what is measured: vnicd, testpmd, Open vSwitch; another one is another class
    guests.py    what measures: the null guest, testpmd with virtio-user ports
    rows.py      the table of rows: which guest, which back-end, which peer, which bar
    measure.py   runs in turns with fresh processes, conservation, spread, verdict
    search.py    the highest rate without loss, by binary search (RFC 2544)
    report.py    tables and JSON
    plot.py      the same as pictures
    cli.py       the command line
"""
