/* fitinfo: sae-fit --info: what a dictionary's file holds, and the commands that would make it again. */
/* SPDX-License-Identifier: MIT */
#ifndef FITINFO_H
#define FITINFO_H

/* Print the table. Returns the exit status of main(). */
int fitinfo_print(const char *path);

#endif
