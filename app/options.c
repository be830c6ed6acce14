/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "fwd.h"
#include "keyval.h"
#include "list.h"
#include "mirror.h"
#include "nearest.h"

enum { OPTIONS_SECONDS_MAX = 1000 * 1000 * 1000 };

struct option {
	const char *name;
	const char *value; /* its form, for people; NULL: takes none */
	const char *help;
	int (*set)(struct options *options, const char *value, struct diag *diag);
};

static const char *const level_word[] = {"error", "warn", "info", "debug"};

static int
set_port(struct options *options, const char *value, struct diag *diag)
{
	if (options->n_port_lines == PORT_MAX)
		return diag_set(diag, -E2BIG, "start several vnicd, each with its own ports",
				"more than %u ports", (unsigned int)PORT_MAX);
	options->port_line_numbers[options->n_port_lines] = options->line_number;
	options->port_lines[options->n_port_lines++] = value;
	return 0;
}

static int
set_mode(struct options *options, const char *value, struct diag *diag)
{
	return fwd_config_parse(&options->fwd, value, diag);
}

/* Seconds with an optional fraction, at least a millisecond. */
static int
parse_seconds(const char *option, const char *value, uint64_t *ret_ms, struct diag *diag)
{
	double seconds;
	char *end;

	errno = 0;
	seconds = strtod(value, &end);
	if (end == value || *end != '\0' || errno || !isfinite(seconds) ||
	    strspn(value, "0123456789.") != strlen(value)) {
		diag_set(diag, -EINVAL, NULL, "%s: \"%.64s\" is not a number of seconds", option, value);
		diag_hint(diag, "%s SECONDS, for example %s 10", option, option);
		return -EINVAL;
	}
	if (seconds < 0.001 || seconds > OPTIONS_SECONDS_MAX) {
		diag_set(diag, -ERANGE, NULL, "%s: %.64s seconds is out of range", option, value);
		diag_hint(diag, "%s SECONDS, 0.001 to %u", option, (unsigned int)OPTIONS_SECONDS_MAX);
		return -ERANGE;
	}
	*ret_ms = (uint64_t)(seconds * 1000 + 0.5);
	return 0;
}

/* Read where the ports are open: they are named. */
static int
set_mirror(struct options *options, const char *value, struct diag *diag)
{
	const char **mirrors = realloc(options->mirrors, (options->n_mirrors + 1) * sizeof(*mirrors));

	if (!mirrors)
		return diag_no_memory(diag, "out of memory");
	options->mirrors = mirrors;
	mirrors[options->n_mirrors++] = value;
	return 0;
}

static int
set_stats_period(struct options *options, const char *value, struct diag *diag)
{
	return parse_seconds("--stats-period", value, &options->stats_period_ms, diag);
}

static int
set_duration(struct options *options, const char *value, struct diag *diag)
{
	return parse_seconds("--duration", value, &options->duration_ms, diag);
}

static int
set_json(struct options *options, const char *value, struct diag *diag)
{
	options->json = true;
	return 0;
}

static int
set_control_socket(struct options *options, const char *value, struct diag *diag)
{
	const size_t size = sizeof(((struct sockaddr_un *)NULL)->sun_path);

	if (value[0] == '\0')
		return diag_set(diag, -EINVAL, "--control-socket /run/vnicd/vnicd.ctl",
				"--control-socket: the path is empty");
	if (strlen(value) >= size) {
		diag_set(diag, -ENAMETOOLONG, NULL, "--control-socket: the path has %zu characters",
			 strlen(value));
		diag_hint(diag, "a unix socket's path has at most %zu characters", size - 1);
		return -ENAMETOOLONG;
	}
	options->control_socket = value;
	return 0;
}

static int
set_socket_owner(struct options *options, const char *value, struct diag *diag)
{
	return perms_parse_id(PERMS_USER, value, "--socket-owner", &options->socket_perms.owner, diag);
}

static int
set_socket_group(struct options *options, const char *value, struct diag *diag)
{
	return perms_parse_id(PERMS_GROUP, value, "--socket-group", &options->socket_perms.group, diag);
}

static int
set_socket_mode(struct options *options, const char *value, struct diag *diag)
{
	return perms_parse_mode(value, "--socket-mode", &options->socket_perms.mode, diag);
}

static int
set_control_group(struct options *options, const char *value, struct diag *diag)
{
	return perms_parse_id(PERMS_GROUP, value, "--control-group", &options->control_perms.group, diag);
}

static int
set_control_mode(struct options *options, const char *value, struct diag *diag)
{
	return perms_parse_mode(value, "--control-mode", &options->control_perms.mode, diag);
}

static int
set_log_level(struct options *options, const char *value, struct diag *diag)
{
	for (unsigned int i = 0; i < RTE_DIM(level_word); i++) {
		if (strcmp(value, level_word[i]) == 0) {
			options->log_level = (enum log_level)i;
			return 0;
		}
	}
	diag_set(diag, -EINVAL, NULL, "--log-level: no level \"%.64s\"", value);
	diag_hint(diag, "did you mean --log-level %s? levels: error|warn|info|debug",
		  nearest_word(value, level_word, RTE_DIM(level_word)));
	return -EINVAL;
}

static int
set_log_file(struct options *options, const char *value, struct diag *diag)
{
	if (value[0] == '\0')
		return diag_set(diag, -EINVAL, "--log-file /var/log/vnicd.log",
				"--log-file: the path is empty");
	options->log_file = value;
	return 0;
}

/* Read where all options are known: parse_file(). */
static int
set_config(struct options *options, const char *value, struct diag *diag)
{
	options->config_path = value;
	return config_file_read(&options->file, value, diag);
}

static int
set_help(struct options *options, const char *value, struct diag *diag)
{
	options->action = OPTIONS_HELP;
	return 0;
}

static int
set_version(struct options *options, const char *value, struct diag *diag)
{
	if (options->action == OPTIONS_RUN)
		options->action = OPTIONS_VERSION;
	return 0;
}

static const struct option option_table[] = {
	{"--port", "NAME=KIND[,key=value...]", "a port; once for each port", set_port},
	{"--forward-mode", "MODE[,key=value...]", "what to do with frames (modes are below)", set_mode},
	{"--mirror", "NAME,from=PORT,to=PORT[,key=value...]", "copies of frames for another port; any number",
	 set_mirror},
	{"--stats-period", "SECONDS", "print counters each period, and once at the end", set_stats_period},
	{"--json", NULL, "print counters as one JSON object a line", set_json},
	{"--duration", "SECONDS", "stop by itself after so long", set_duration},
	{"--control-socket", "PATH", "JSON-RPC socket (default: vnicd.ctl in the run-time directory)",
	 set_control_socket},
	{"--control-group", "GROUP",
	 "who may use it, and list the run-time directory (default: who runs vnicd)", set_control_group},
	{"--control-mode", "MODE", "its mode, octal (default 0660)", set_control_mode},
	{"--socket-owner", "USER", "owner of the sockets of ports; a port's socket-owner= goes before it",
	 set_socket_owner},
	{"--socket-group", "GROUP", "their group: kvm for QEMU started by libvirt", set_socket_group},
	{"--socket-mode", "MODE", "their mode, octal (default 0660)", set_socket_mode},
	{"--log-level", "LEVEL", "error, warn, info (the default) or debug", set_log_level},
	{"--log-file", "FILE", "where the log goes, instead of standard error; SIGHUP opens it again",
	 set_log_file},
	{"--config", "FILE", "more options, one a line without its dashes; eal lines are for EAL",
	 set_config},
	{"--help", NULL, "this text", set_help},
	{"--version", NULL, "print the version", set_version},
};

static_assert(RTE_DIM(option_table) <= OPTIONS_MAX, "what is said has a place for each");

/* The option that `arg` names, with or without an attached =VALUE. */
static const struct option *
option_find(const char *arg)
{
	size_t len = strcspn(arg, "=");

	for (unsigned int i = 0; i < RTE_DIM(option_table); i++)
		if (strncmp(arg, option_table[i].name, len) == 0 && option_table[i].name[len] == '\0')
			return &option_table[i];
	return NULL;
}

static int
option_unknown(const char *arg, struct diag *diag)
{
	const char *names[RTE_DIM(option_table)], *nearest;
	const struct option *option;
	char word[64];

	if (arg[0] != '-')
		return diag_set(diag, -EINVAL, "vnicd --port NAME=KIND --port NAME=KIND --forward-mode io",
				"\"%.128s\" is not an option", arg);
	if (arg[1] != '-')
		return diag_set(
			diag, -EINVAL,
			"EAL options go before a --, for example: vnicd -l 0-1 -- --port a=vhost-user ...",
			"unknown option %.128s", arg);
	for (unsigned int i = 0; i < RTE_DIM(option_table); i++)
		names[i] = option_table[i].name;
	snprintf(word, sizeof(word), "%.*s", (int)RTE_MIN(strcspn(arg, "="), sizeof(word) - 1), arg);
	nearest = nearest_word(word, names, RTE_DIM(names));
	option = option_find(nearest);
	diag_set(diag, -EINVAL, NULL, "unknown option %.64s", word);
	diag_hint(diag, "did you mean %s%s%s? (EAL options go before a --; all of ours: vnicd --help)",
		  option->name, option->value ? " " : "", option->value ? option->value : "");
	return -EINVAL;
}

/* One option, wherever it was found. */
static int
option_set(struct options *options, const struct option *option, const char *value, bool seen[],
	   struct diag *diag)
{
	if (option->value && !value) {
		diag_set(diag, -EINVAL, NULL, "%s needs a value", option->name);
		diag_hint(diag, "%s %s", option->name, option->value);
		return -EINVAL;
	}
	if (!option->value && value)
		return diag_set(diag, -EINVAL, option->name, "%s takes no value", option->name);
	if (seen[option - option_table] && option->set != set_port && option->set != set_mirror) {
		diag_set(diag, -EINVAL, NULL, "%s is given twice", option->name);
		diag_hint(diag, "give %s once", option->name);
		return -EINVAL;
	}
	seen[option - option_table] = true;
	options->said[option - option_table] = value ? value : "";
	return option->set(options, value, diag);
}

static int
parse_ours(struct options *options, int argc, char **argv, bool seen[], struct diag *diag)
{
	for (int i = 0; i < argc; i++) {
		const struct option *option = option_find(argv[i]);
		const char *value = strchr(argv[i], '=');
		int ret;

		if (!option)
			return option_unknown(argv[i], diag);
		if (value)
			value++;
		else if (option->value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
			value = argv[++i];
		ret = option_set(options, option, value, seen, diag);
		if (ret < 0)
			return ret;
		if (options->action == OPTIONS_HELP)
			return 0;
	}
	return 0;
}

enum { OPTIONS_EAL_ARGS_MAX = 256 }; /* from the command line and the file together; EAL takes fewer */

static int
eal_arg_add(struct options *options, char *arg, struct diag *diag)
{
	if (options->n_eal_args == OPTIONS_EAL_ARGS_MAX)
		return diag_set(diag, -E2BIG, "give fewer", "more than %d EAL options",
				(int)OPTIONS_EAL_ARGS_MAX);
	options->eal_args[options->n_eal_args++] = arg;
	return 0;
}

/* Of an eal line. Ours would go to EAL, which says something less clear. */
static int
eal_word_add(struct options *options, char *word, struct diag *diag)
{
	const struct option *option = option_find(word);

	if (strcmp(word, "--") == 0)
		return diag_set(diag, -EINVAL, "each option on a line of its own, without dashes",
				"an eal line has no --");
	if (option && option->set != set_log_level) {
		diag_set(diag, -EINVAL, NULL, "%s stands among the EAL options", option->name);
		diag_hint(diag, "on a line of its own: %s", option->name + 2);
		return -EINVAL;
	}
	return eal_arg_add(options, word, diag);
}

static int
parse_file_line(struct options *options, const struct config_line *line, bool seen[], struct diag *diag)
{
	const struct option *option;
	char name[64], *rest = line->value;
	int ret = 0;

	if (strcmp(line->option, "eal") == 0) {
		for (char *word; ret == 0 && (word = strsep(&rest, " \t"));)
			if (word[0])
				ret = eal_word_add(options, word, diag);
		return ret;
	}
	snprintf(name, sizeof(name), "--%.60s", line->option);
	option = line->option[0] == '-' || strchr(line->option, '=') ? NULL : option_find(name);
	if (!option && (line->option[0] == '-' || strchr(line->option, '=')))
		return diag_set(diag, -EINVAL,
				"options stand without dashes here, a blank before the value: port NAME=KIND",
				"unknown word %.64s", line->option);
	if (!option)
		return option_unknown(name, diag);
	if (option->set == set_help || option->set == set_version || option->set == set_config)
		return diag_set(diag, -EINVAL, "give it on the command line", "%s is not for a file",
				option->name);
	return option_set(options, option, line->value, seen, diag);
}

/* The cause begins with the place of what it is about. */
static void
diag_in_file(struct diag *diag, int err, const char *path, unsigned int line_number)
{
	const struct diag why = *diag;

	diag_set(diag, err, NULL, "%.128s:%u: %.180s", path, line_number, why.cause);
	diag_hint(diag, "%s", why.hint);
}

/* What its lines say, as if it stood on the command line; causes name the line. */
static int
parse_file(struct options *options, const char *path, bool seen[], struct diag *diag)
{
	for (unsigned int i = 0; i < options->file.n_lines; i++) {
		const struct config_line *line = &options->file.lines[i];
		int ret;

		options->line_number = line->number;
		ret = parse_file_line(options, line, seen, diag);
		if (ret < 0) {
			diag_in_file(diag, ret, path, line->number);
			return ret;
		}
	}
	options->line_number = 0;
	return 0;
}

/* Words that are ours alone, left of the `--`: say so, before EAL says something less clear. */
static int
check_eal_side(struct options *options, struct diag *diag)
{
	for (unsigned int i = 0; i < options->n_eal_args; i++) {
		const struct option *option = option_find(options->eal_args[i]);

		if (!option || option->set == set_log_level)
			continue;
		if (option->set == set_help || option->set == set_version)
			return option->set(options, NULL, diag);
		diag_set(diag, -EINVAL, NULL, "%s stands before the --, among the EAL options", option->name);
		diag_hint(diag, "vnicd [EAL options] -- %s%s%s ...", option->name, option->value ? " " : "",
			  option->value ? option->value : "");
		return -EINVAL;
	}
	return 0;
}

/* EAL as a secondary process waits for its primary one for ever, where no signal ends it. */
static int
check_eal_primary(const struct options *options, struct diag *diag)
{
	static const char name[] = "--proc-type";

	for (unsigned int i = 0; i < options->n_eal_args; i++) {
		const char *value = options->eal_args[i] + strlen(name);

		if (strncmp(options->eal_args[i], name, strlen(name)) != 0)
			continue;
		if (*value == '=')
			value++;
		else if (i + 1 < options->n_eal_args)
			value = options->eal_args[i + 1];
		if (strcmp(value, "primary") != 0)
			return diag_set(diag, -EINVAL, "leave --proc-type out",
					"EAL option --proc-type: vnicd is a primary process");
	}
	return 0;
}

static int
options_init(struct options *options, struct diag *diag)
{
	*options = (struct options){.log_level = LOG_LEVEL_INFO};
	options->port_lines = calloc(PORT_MAX, sizeof(*options->port_lines));
	options->eal_args = calloc(OPTIONS_EAL_ARGS_MAX, sizeof(*options->eal_args));
	options->port_line_numbers = calloc(PORT_MAX, sizeof(*options->port_line_numbers));
	if (!options->port_lines || !options->eal_args || !options->port_line_numbers)
		return diag_no_memory(diag, "out of memory");
	return 0;
}

int
options_parse_text(struct options *options, const char *path, const char *text, struct diag *diag)
{
	bool seen[RTE_DIM(option_table)] = {false};
	int ret = options_init(options, diag);

	if (ret == 0)
		ret = config_file_split(&options->file, path, text, diag);
	options->config_path = path;
	return ret < 0 ? ret : parse_file(options, path, seen, diag);
}

/* An option as a line of a file has it; false: it is not in one, or was not said. */
static bool
option_text(const struct options *options, const struct option *option, char *buf, size_t size)
{
	const char *said = options->said[option - option_table];

	if (!said || option->set == set_port || option->set == set_mirror || option->set == set_config)
		return false;
	if (option->set == set_mode)
		fwd_config_print(&options->fwd, buf, size);
	else
		snprintf(buf, size, "%s", said);
	return true;
}

size_t
options_print(const struct options *options, char *buf, size_t size)
{
	char text[KEYVAL_LINE_MAX];
	size_t used = 0;

	if (options->n_eal_args)
		used = keyval_add(buf, size, used, "eal");
	for (unsigned int i = 0; i < options->n_eal_args; i++) {
		used = keyval_add(buf, size, used, " ");
		used = keyval_add(buf, size, used, options->eal_args[i]);
	}
	if (options->n_eal_args)
		used = keyval_add(buf, size, used, "\n");
	for (unsigned int i = 0; i < RTE_DIM(option_table); i++) {
		if (!option_text(options, &option_table[i], text, sizeof(text)))
			continue;
		used = keyval_add(buf, size, used, option_table[i].name + 2);
		used = keyval_add(buf, size, used, text[0] ? " " : "");
		used = keyval_add(buf, size, used, text);
		used = keyval_add(buf, size, used, "\n");
	}
	return used;
}

int
options_check_same(const struct options *options, const struct options *as, struct diag *diag)
{
	char was[KEYVAL_LINE_MAX], is[KEYVAL_LINE_MAX];
	bool same = as->n_eal_args == 0 || as->n_eal_args == options->n_eal_args;

	for (unsigned int i = 0; same && i < as->n_eal_args; i++)
		same = strcmp(as->eal_args[i], options->eal_args[i]) == 0;
	if (!same)
		return diag_set(diag, -EINVAL, "start vnicd again with the new file",
				"EAL options can't be changed while vnicd runs");
	for (unsigned int i = 0; i < RTE_DIM(option_table); i++) {
		if (!option_text(as, &option_table[i], is, sizeof(is)))
			continue;
		if (option_text(options, &option_table[i], was, sizeof(was)) && strcmp(was, is) == 0)
			continue;
		diag_set(diag, -EINVAL, NULL, "%s can't be changed while vnicd runs",
			 option_table[i].name + 2);
		diag_hint(diag, "start vnicd again with the new file, or leave the line out");
		return -EINVAL;
	}
	return 0;
}

int
options_parse(struct options *options, int argc, char **argv, struct diag *diag)
{
	bool seen[RTE_DIM(option_table)] = {false};
	int ours = 1, ret = options_init(options, diag);

	if (ret < 0)
		return ret;
	for (int i = 1; i < argc && ours == 1; i++)
		if (strcmp(argv[i], "--") == 0)
			ours = i + 1;
	for (int i = 1; i < ours - 1 && ret == 0; i++)
		ret = eal_arg_add(options, argv[i], diag);
	if (ret == 0)
		ret = check_eal_side(options, diag);
	if (ret < 0 || options->action != OPTIONS_RUN)
		return ret;
	ret = parse_ours(options, argc - ours, argv + ours, seen, diag);
	if (ret < 0 || options->action != OPTIONS_RUN)
		return ret;
	ret = parse_file(options, options->config_path, seen, diag);
	if (ret == 0)
		ret = check_eal_primary(options, diag);
	if (ret < 0)
		return ret;
	if (options->n_port_lines == 0)
		return diag_set(diag, -EINVAL,
				"--port NAME=vhost-user, once for each port (see vnicd --help)",
				"no --port: nothing to forward");
	if (!options->fwd.mode) {
		char names[200];

		fwd_mode_names(names, sizeof(names));
		diag_set(diag, -EINVAL, NULL, "no --forward-mode");
		diag_hint(diag, "--forward-mode %s", names);
		return -EINVAL;
	}
	return 0;
}

int
options_parse_ports(struct options *options, struct diag *diag)
{
	const struct fwd_mode *mode = options->fwd.mode;
	int ret;

	port_env.mode_keys = mode->port_keys;
	port_env.retry = mode->retry;
	options->ports = calloc(options->n_port_lines, sizeof(*options->ports));
	if (!options->ports && options->n_port_lines)
		return diag_no_memory(diag, "out of memory");
	for (unsigned int i = 0; i < options->n_port_lines; i++) {
		ret = port_config_parse(&options->ports[i], options->port_lines[i], diag);
		if (ret < 0 && options->port_line_numbers[i])
			diag_in_file(diag, ret, options->config_path, options->port_line_numbers[i]);
		if (ret < 0)
			return ret;
		options->n_ports++;
	}
	ret = port_config_check(options->ports, options->n_ports, diag);
	if (ret < 0)
		return ret;
	return mode->check ? mode->check(options->n_ports, diag) : 0;
}

unsigned int
options_queue_pairs(const struct options *options)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < options->n_ports; i++)
		n += options->ports[i].n_queues;
	return n;
}

void
options_demand(const struct options *options, struct port_demand *ret_demand)
{
	*ret_demand = (struct port_demand){.own_bytes = fwd_config_demand(&options->fwd)};
	for (unsigned int i = 0; i < options->n_ports; i++) {
		struct port_demand demand;

		port_config_demand(&options->ports[i], &demand);
		ret_demand->n_mbufs += demand.n_mbufs;
		ret_demand->own_bytes += demand.own_bytes;
	}
}

int
options_check_workers(const struct options *options, unsigned int n_workers, struct diag *diag)
{
	unsigned int n_pairs = options_queue_pairs(options);

	if (n_workers == 0)
		return diag_set(diag, -EINVAL,
				"give two lcores, for example -l 0-1, or --lcores 0@0,1@0 to share one CPU",
				"no lcore is left for a worker: the control thread takes one");
	if (n_pairs <= n_workers * FWD_WORKER_QUEUES_MAX)
		return 0;
	diag_set(diag, -E2BIG, NULL, "%u queue pairs are too many for %u worker%s of at most %u each",
		 n_pairs, n_workers, n_workers == 1 ? "" : "s", (unsigned int)FWD_WORKER_QUEUES_MAX);
	diag_hint(diag, "give %u lcores (EAL option -l) or fewer queues= to the ports",
		  1 + (n_pairs + FWD_WORKER_QUEUES_MAX - 1) / FWD_WORKER_QUEUES_MAX);
	return -E2BIG;
}

void
options_free(struct options *options)
{
	for (unsigned int i = 0; i < options->n_ports; i++)
		port_config_free(&options->ports[i]);
	fwd_config_free(&options->fwd);
	free(options->ports);
	free(options->port_lines);
	free(options->mirrors);
	free(options->port_line_numbers);
	free(options->eal_args);
	config_file_free(&options->file);
}

static void
print_keys(const struct key *keys)
{
	for (; keys && keys->type != KEY_END; keys++) {
		char usage[KEY_TEXT_MAX];

		key_usage(keys, usage, sizeof(usage));
		printf("      %-28s %s\n", usage, keys->help);
	}
}

void
options_print_help(void)
{
	const struct port_kind *kind;
	const struct fwd_mode *mode;

	printf("vnicd: network back-end of virtual machines: virtio-net devices over vhost-user.\n"
	       "\n"
	       "usage: vnicd [EAL options --] --port NAME=KIND[,key=value...] ... --forward-mode MODE "
	       "[options]\n"
	       "\n"
	       "options:\n");
	for (unsigned int i = 0; i < RTE_DIM(option_table); i++) {
		char form[64];

		snprintf(form, sizeof(form), "%s %s", option_table[i].name,
			 option_table[i].value ? option_table[i].value : "");
		printf("  %-35s %s\n", form, option_table[i].help);
	}
	printf("\nkinds of ports, and their keys:\n"
	       "  any\n");
	print_keys(port_config_common_keys());
	list_for_each(kind, port_kinds()) {
		printf("  %-14s %s\n", kind->name, kind->help);
		print_keys(kind->keys);
	}
	printf("\nforwarding modes:\n");
	list_for_each(mode, fwd_modes()) {
		printf("  %-14s %s\n", mode->name, mode->help);
		print_keys(mode->keys);
		if (mode->port_keys)
			printf("    and of its ports:\n");
		if (mode->port_keys)
			print_keys(mode->port_keys->keys);
	}
	printf("\nmirrors:\n");
	print_keys(mirror_keys());
	printf("\n"
	       "Sockets go to the run-time directory: $RUNTIME_DIRECTORY, else /run/vnicd as root, else\n"
	       "$XDG_RUNTIME_DIR/vnicd. Without EAL options vnicd picks CPUs and memory and says which.\n"
	       "While it runs, vnicctl adds and removes ports and shows counters.\n"
	       "Guests' control queues are served by the control thread, when a guest kicks; or, without\n"
	       "a pause, by an EAL service lcore (-S, -s): vnicd --lcores 0@0,1@1,2@2 -S 2 -- ...\n"
	       "\n"
	       "examples:\n"
	       "  two guests, wired to each other:\n"
	       "    vnicd --port vm0=vhost-user --port vm1=vhost-user --forward-mode io\n"
	       "  three guests and an interface of this machine behind a learning switch, counters each "
	       "second:\n"
	       "    vnicd --port vm0=vhost-user --port vm1=vhost-user,queues=2 --port vm2=vhost-user \\\n"
	       "          --port up0=nic,vdev=net_af_packet0,vdev.iface=eth1 --forward-mode "
	       "switch,ageing=60s "
	       "--stats-period 1\n"
	       "  one guest whose pings are answered, for ten seconds, counters as JSON, on CPUs 2 and 3:\n"
	       "    vnicd -l 2-3 -- --port vm0=vhost-user,path=/tmp/vm0.sock --forward-mode icmpecho "
	       "--duration 10 --json\n"
	       "\n"
	       "SIGTERM, SIGINT and SIGQUIT stop vnicd. SIGHUP (a terminal that closes sends it, too) opens "
	       "the "
	       "--log-file\n"
	       "again, where there is one; SIGUSR1 and SIGUSR2 are logged and change nothing.\n"
	       "exit status: 0 stopped as asked; 1 something failed at run time; 2 the command line is "
	       "wrong.\n"
	       "An error is two lines: the cause, and what to write instead.\n");
}
