// The commands of the program; each gets the arguments behind its name and returns the exit status:
// 0 = done, 1 = it failed, 2 = wrong usage.
#pragma once

int cmd_run(int argc, char **argv);
int cmd_validate(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_log_level(int argc, char **argv);
