/* A team of threads that shares out the parts of one computation at a time: see team.c. */

#ifndef GEMMA_TEAM_H
#define GEMMA_TEAM_H

#define GRAIN 65536 /* multiplications that are worth handing to another thread */

/* Computes the units first .. stop - 1 of a task. */
typedef void (*Work)(const void *task, long first, long stop);

/* Runs `work` over the units 0 .. units - 1, in pieces, on all threads of the team; returns when all are done. cost: of
   the whole, in multiplications. What is computed must not depend on where the pieces begin or on who takes them. */
void share(Work work, const void *task, long units, double cost);

/* Threads that share() uses, the calling one among them. */
int team_threads(void);

#endif
