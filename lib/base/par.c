/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/par.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct {
    int threads, running;       /* wanted; there, the caller included */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    unsigned long round;        /* counts calls of par_for */
    int busy;                   /* helpers not yet through with this round */
    atomic_size_t next;
    size_t pieces;
    void (*fn)(void *, size_t, int);
    void *arg;
} pool = { .threads = 1, .running = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER,
           .idle = PTHREAD_COND_INITIALIZER };

int par_default(void)
{
    if (getenv("PARALLEL_SEQ"))
        return 1;
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

static void drain(int worker)
{
    for (size_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.pieces;)
        pool.fn(pool.arg, i, worker);
}

static void *helper(void *arg)
{
    int worker = (int)(size_t)arg;
    unsigned long seen = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.round == seen)
            pthread_cond_wait(&pool.work, &pool.lock);
        seen = pool.round;
        pthread_mutex_unlock(&pool.lock);
        drain(worker);
        pthread_mutex_lock(&pool.lock);
        if (--pool.busy == 0)
            pthread_cond_signal(&pool.idle);
    }
    return NULL;
}

void par_start(int threads)
{
    pool.threads = threads;
}

static void launch(void)
{
    sigset_t all, old;
    sigfillset(&all);           /* signals are for the main thread, but for those that a thread brings upon itself */
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGPIPE);
    sigdelset(&all, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    for (int i = pool.running; i < pool.threads; i++) {
        pthread_t id;
        if (pthread_create(&id, NULL, helper, (void *)(size_t)i)) {
            pool.threads = i;       /* fewer threads give the same bytes */
            break;
        }
        pthread_detach(id);
        pool.running = i + 1;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int par_threads(void)
{
    return pool.threads;
}

void par_for(size_t pieces, void (*fn)(void *, size_t, int), void *arg)
{
    if (pool.threads == 1 || pieces < 2) {
        for (size_t i = 0; i < pieces; i++)
            fn(arg, i, 0);
        return;
    }
    if (pool.running < pool.threads)
        launch();
    pthread_mutex_lock(&pool.lock);
    pool.fn = fn;
    pool.arg = arg;
    pool.pieces = pieces;
    atomic_store(&pool.next, 0);
    pool.busy = pool.running - 1;
    pool.round++;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    drain(0);
    pthread_mutex_lock(&pool.lock);
    while (pool.busy)
        pthread_cond_wait(&pool.idle, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}
