/* A team of threads in which a computation never waits for a thread that has not started its part.

   A task is cut into pieces; the caller and its workers take them from a counter. A worker that sleeps, or that another
   program keeps from running, takes none, and the others compute them all. So the caller waits only for pieces that are
   already being computed, and those are small.

   The next task usually follows within microseconds, and waking a thread takes longer than many tasks. So a waiting
   thread spins for a moment before it sleeps. If other programs need the processor, spinning takes time from the
   threads that compute. Hence a spinning thread yields in a loop; a yield that takes long shows that another program
   ran. Then no thread spins for a while, each time twice as long as before. A long wait for a piece has the same
   effect.

   The counter is one word: the number of the task in the upper half, the remaining pieces in the lower half. So a
   thread takes pieces only of the task that it has seen. The description of a task changes only after all its pieces
   are done. */

#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define MOST 256                 /* threads */
#define PIECES 16                /* of a task for each thread at most: the caller waits for the last ones */
#define LOOKS 32                 /* between two yields, some microseconds */
#define SPIN_NS 200000LL         /* how long a thread spins before it sleeps */
#define LOST_NS 300000LL         /* a yield that takes longer: something else ran */
#define LATE_NS 5000000LL        /* a wait for a piece that takes longer: its worker is kept from running */
#define BUSY_NS 100000000LL      /* how long no thread spins after that, at first */
#define BUSY_MOST_NS 3000000000LL

static atomic_ullong left;       /* number of the task << 32 | pieces not taken yet */
static atomic_long done;         /* pieces that are done */
static atomic_int asleep;        /* workers */
static atomic_int caller_asleep;
static atomic_flag taken = ATOMIC_FLAG_INIT; /* by a caller; meanwhile others compute alone */

static _Atomic(Work) the_work;   /* the task given to share() */
static _Atomic(const void *) the_task;
static atomic_long the_units, the_pieces;

static atomic_int threads = 1;
static atomic_llong spin_ns = SPIN_NS;
static atomic_llong busy_until, busy_ns = BUSY_NS; /* in CLOCK_MONOTONIC; the duration of the next time */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t posted = PTHREAD_COND_INITIALIZER, finished = PTHREAD_COND_INITIALIZER;
static int workers;              /* started so far; guarded by `taken` */

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void rest(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

static int any_left(long worker) { return (uint32_t)atomic_load(&left) && worker < atomic_load(&threads); }
static int all_done(long caller) {
  (void)caller;
  return atomic_load(&done) == atomic_load(&the_pieces);
}

static void found_busy(long long now) {
  const long long busy = atomic_load(&busy_ns);
  atomic_store(&busy_until, now + busy);
  atomic_store(&busy_ns, 2 * busy < BUSY_MOST_NS ? 2 * busy : BUSY_MOST_NS);
}

static int busy(long long now) {
  const long long until = atomic_load(&busy_until);
  if (now > until + BUSY_MOST_NS) atomic_store(&busy_ns, BUSY_NS);
  return now < until;
}

/* Returns whether `come` became true while the thread was spinning. */
static int spun(int (*come)(long), long who) {
  const long long began = now_ns(), stop = began + atomic_load(&spin_ns);
  if (busy(began)) return come(who);
  for (long long last = began;;) {
    for (int look = 0; look < LOOKS; look++) {
      if (come(who)) return 1;
      rest();
    }
    sched_yield();
    const long long now = now_ns();
    if (now - last > LOST_NS) {
      found_busy(now);
      return come(who);
    }
    if (now > stop) return come(who);
    last = now;
  }
}

/* Computes pieces until none is left. */
static void compute(void) {
  for (unsigned long long seen = atomic_load(&left); (uint32_t)seen;) {
    const Work work = atomic_load(&the_work);
    const void *task = atomic_load(&the_task);
    const long units = atomic_load(&the_units), pieces = atomic_load(&the_pieces), at = pieces - (uint32_t)seen;
    if (!atomic_compare_exchange_weak(&left, &seen, seen - 1)) continue;
    work(task, units * at / pieces, units * (at + 1) / pieces);
    if (atomic_fetch_add(&done, 1) + 1 == pieces && atomic_load(&caller_asleep)) {
      pthread_mutex_lock(&lock);
      pthread_cond_signal(&finished);
      pthread_mutex_unlock(&lock);
    }
    seen = atomic_load(&left);
  }
}

static void *worker(void *number) {
  const long who = (long)number;
  for (;;) {
    if (!spun(any_left, who)) {
      pthread_mutex_lock(&lock);
      atomic_fetch_add(&asleep, 1);
      while (!any_left(who)) pthread_cond_wait(&posted, &lock);
      atomic_fetch_sub(&asleep, 1);
      pthread_mutex_unlock(&lock);
    }
    compute();
  }
  return NULL;
}

static void begin_anew(void) { /* in the child of a fork, which has no workers */
  workers = 0;
  atomic_store(&left, 0);
  atomic_store(&asleep, 0);
  atomic_store(&caller_asleep, 0);
  lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  posted = finished = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
  atomic_flag_clear(&taken);
}

/* Starts missing workers, if the system allows it. They block signals, which are for the program's own threads. */
static void complete(int wanted) {
  static int registered;
  sigset_t all, before;
  if (workers >= wanted) return;
  if (!registered) registered = pthread_atfork(NULL, NULL, begin_anew) == 0;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (workers < wanted) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, worker, (void *)(long)(workers + 1))) break;
    pthread_detach(thread);
    workers++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void wait_for_all(void) {
  const long long began = now_ns();
  if (spun(all_done, 0)) return;
  pthread_mutex_lock(&lock);
  atomic_store(&caller_asleep, 1);
  while (!all_done(0)) pthread_cond_wait(&finished, &lock);
  atomic_store(&caller_asleep, 0);
  pthread_mutex_unlock(&lock);
  const long long now = now_ns();
  if (now - began > LATE_NS && !busy(now)) found_busy(now);
}

void share(Work work, const void *task, long units, double cost) {
  const int wanted = atomic_load(&threads);
  const double worth = cost / GRAIN, most = (double)(units < wanted * PIECES ? units : wanted * PIECES);
  const long pieces = (long)(worth < most ? worth : most);
  if (wanted == 1 || pieces < 2 || atomic_flag_test_and_set(&taken)) {
    work(task, 0, units);
    return;
  }
  complete(wanted - 1);
  atomic_store(&the_work, work);
  atomic_store(&the_task, task);
  atomic_store(&the_units, units);
  atomic_store(&the_pieces, pieces);
  atomic_store(&done, 0);
  atomic_store(&left, ((atomic_load(&left) >> 32) + 1) << 32 | (unsigned long long)pieces);
  const long sleepers = atomic_load(&asleep), woken = sleepers < pieces - 1 ? sleepers : pieces - 1;
  if (woken) {
    pthread_mutex_lock(&lock);
    for (long one = 0; one < woken; one++) pthread_cond_signal(&posted);
    pthread_mutex_unlock(&lock);
  }
  compute();
  wait_for_all();
  atomic_flag_clear(&taken);
}

int team_threads(void) { return atomic_load(&threads); }

/* Sets the number of threads, and the ns that a thread spins before it sleeps; < 0: unchanged. */
void team_settings(int count, long long spin) {
  if (count > 0) atomic_store(&threads, count < MOST ? count : MOST);
  if (spin >= 0) atomic_store(&spin_ns, spin);
}
