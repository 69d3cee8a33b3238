/* A team of threads that compute one task at a time: see team.c. */

#ifndef GEMMA_TEAM_H
#define GEMMA_TEAM_H

#define GRAIN 65536 /* multiplications that are worth a second thread */

/* Computes the units first .. stop - 1 of a task. */
typedef void (*Work)(const void *task, long first, long stop);

/* Runs `work` over the units 0 .. units - 1, in pieces, on all threads of the team; returns when all are done. cost: of
   the task, in multiplications. Results must not depend on the bounds of pieces or on the thread that computes them. */
void share(Work work, const void *task, long units, double cost);

/* Returns the number of threads that share() uses, including the calling one. */
int team_threads(void);

#endif
