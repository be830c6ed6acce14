# SPDX-License-Identifier: BSD-3-Clause
"""vnic-bench: back-ends beside each other under the same guests. What runs where:

    machine.py   CPUs that are quiet, hugepages, the environment a figure belongs to
    backends.py  what is measured: vnicd, testpmd, Open vSwitch; another one is another class
    guests.py    what measures: the null guest, testpmd with virtio-user ports
    rows.py      the table of rows: which guest, which back-end, which peer, which bars
    measure.py   two back-ends in slices of a tenth of a second, conservation
    slices.py    what slices say: classes, pairs, ratios with intervals, verdict
    cost.py      cycles a frame at a fixed load, where guests are the limit
    search.py    the highest rate without loss, by binary search (RFC 2544)
    report.py    tables and JSON
    plot.py      the same as pictures
    cli.py       the command line
"""
