/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uml_xstate: lets User-mode Linux 6.1 run on CPUs whose register state is larger than it knows (AMX).
 *
 *     LD_PRELOAD=build/usertools/uml_xstate.so linux.uml ...
 *
 * That kernel sets its processes' registers by ptrace from a buffer of a fixed size, and the host refuses a
 * state that is shorter than the CPU's ("Kernel panic - not syncing: Attempted to kill init"). Here what it
 * gives is laid over the state that is there. On other CPUs this changes nothing.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { UML_NT_X86_XSTATE = 0x202, UML_XSTATE_MAX = 65536 };

typedef long (*uml_ptrace_fn)(int request, pid_t pid, void *addr, void *data);

static long
uml_set_xstate(uml_ptrace_fn real, pid_t pid, void *addr, const struct iovec *given)
{
	static __thread char state[UML_XSTATE_MAX];
	struct iovec whole = {.iov_base = state, .iov_len = sizeof(state)};

	if (given->iov_len > sizeof(state) || real(PTRACE_GETREGSET, pid, addr, &whole) < 0)
		return -1;
	memcpy(state, given->iov_base, given->iov_len);
	return real(PTRACE_SETREGSET, pid, addr, &whole);
}

long ptrace(enum __ptrace_request request, ...);

long
ptrace(enum __ptrace_request request, ...)
{
	static uml_ptrace_fn real;
	va_list ap;
	pid_t pid;
	void *addr, *data;
	long ret;

	if (!real)
		real = (uml_ptrace_fn)dlsym(RTLD_NEXT, "ptrace");
	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	ret = real((int)request, pid, addr, data);
	if (ret < 0 && request == PTRACE_SETREGSET && addr == (void *)UML_NT_X86_XSTATE)
		ret = uml_set_xstate(real, pid, addr, data);
	return ret;
}
