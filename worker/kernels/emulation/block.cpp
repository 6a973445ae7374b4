// The threads of one block, each a fibre of its own, played one after the other on one processor.
//
// A thread runs until its next barrier before another thread has its turn: the furthest that a GPU's scheduler could let
// it run ahead. Which thread is first is an `Order`. Where a barrier is missing, some order lets a thread read what was
// not yet written, or was written too early. Only a warp's exchanges (shuffles and votes) make threads wait for each
// other besides barriers: that the threads of a warp run in lockstep is not assumed.
#include <setjmp.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <utility>

#include "memory.h"
#include "play.h"

Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

unsigned order_number = 0;

void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "block (%u, %u), thread %u, order %u: ", blockIdx.x, blockIdx.y, threadIdx.x, order_number);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    fflush(stderr);
    _exit(1);
}

const std::vector<unsigned>& Order::of(unsigned count, std::vector<unsigned>& indices) {
    indices.resize(count);
    for (unsigned i = 0; i < count; i++) indices[i] = order_number == 1 ? count - 1 - i : i;
    if (order_number > 1) {
        for (unsigned i = count; i > 1; i--) std::swap(indices[i - 1], indices[next() % i]);
    }
    return indices;
}

// SplitMix64 (Steele, Lea and Flood 2014).
unsigned Order::next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<unsigned>((z ^ z >> 31) >> 32);
}

void (*kernel)();

struct Thread {
    // Leaves the stack as it is: clearing all of them costs more than most launches.
    Thread() {}

    ucontext_t start;
    jmp_buf position;
    bool started = false;
    Wait wait = Wait::Turn;
    // To the newest exchange.
    uint64_t given = 0;
    Exchanged exchanged = {};
    char stack[32 << 10];
};

static std::vector<Thread> threads;
static Thread* running = nullptr;
static jmp_buf scheduler;

// Switching by jumps between stacks, as QEMU's coroutines do, spares the system call of `swapcontext`.
void pause(Wait wait) {
    running->wait = wait;
    if (_setjmp(running->position) == 0) _longjmp(scheduler, 1);
}

static void thread_main() {
    for (;;) {
        kernel();
        pause(Wait::Forever);
    }
}

// Lets a thread run until it pauses.
static void resume(unsigned index) {
    running = &threads[index];
    threadIdx.x = index;
    if (_setjmp(scheduler) != 0) return;
    if (running->started) _longjmp(running->position, 1);
    running->started = true;
    setcontext(&running->start);
}

const Exchanged& exchange_bits(unsigned mask, uint64_t given) {
    if (!(mask >> threadIdx.x % 32 & 1)) fail("a thread is not in the mask of its own exchange");
    running->exchanged.mask = mask;
    running->given = given;
    pause(Wait::Exchange);
    return running->exchanged;
}

// Ends the exchanges of a warp for which every lane has come; whether there was one.
static bool end_exchanges(Thread* warp, unsigned lanes) {
    bool complete[32] = {};
    bool any = false;
    for (unsigned lane = 0; lane < lanes; lane++) {
        if (warp[lane].wait != Wait::Exchange) continue;
        complete[lane] = true;
        for (unsigned other = 0; other < 32; other++) {
            if (!(warp[lane].exchanged.mask >> other & 1)) continue;
            const bool here = other < lanes && warp[other].wait == Wait::Exchange;
            if (!here || warp[other].exchanged.mask != warp[lane].exchanged.mask) complete[lane] = false;
        }
        any = any || complete[lane];
    }
    for (unsigned lane = 0; lane < lanes; lane++) {
        if (!complete[lane]) continue;
        for (unsigned other = 0; other < lanes; other++) warp[lane].exchanged.values[other] = warp[other].given;
        warp[lane].wait = Wait::Turn;
    }
    return any;
}

// Runs a warp until all its threads are at a barrier or have ended.
static void play_warp(unsigned warp, Order& order) {
    static std::vector<unsigned> indices;
    const unsigned first = warp * 32;
    const unsigned lanes = blockDim.x - first < 32 ? blockDim.x - first : 32;
    do {
        for (unsigned lane : order.of(lanes, indices)) {
            if (threads[first + lane].wait == Wait::Turn) resume(first + lane);
        }
    } while (end_exchanges(&threads[first], lanes));
    for (unsigned lane = 0; lane < lanes; lane++) {
        threadIdx.x = first + lane;
        if (threads[first + lane].wait == Wait::Exchange) fail("waits in an exchange for a lane that does not come");
    }
}

void play_block(Order& order) {
    static std::vector<unsigned> indices;
    poison_shared_memory();
    for (Thread& thread : threads) thread.wait = Wait::Turn;
    for (;;) {
        for (unsigned warp : order.of((blockDim.x + 31) / 32, indices)) play_warp(warp, order);
        unsigned ended = 0;
        for (const Thread& thread : threads) ended += thread.wait == Wait::Forever;
        if (ended == blockDim.x) return;
        if (ended > 0) fail("%u of the block's threads never come to a barrier that others wait at", ended);
        for (Thread& thread : threads) thread.wait = Wait::Turn;
    }
}

void make_threads() {
    threads = std::vector<Thread>(blockDim.x);
    for (Thread& thread : threads) {
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack;
        thread.start.uc_stack.ss_size = sizeof thread.stack;
        makecontext(&thread.start, thread_main, 0);
    }
}

}  // namespace emulation
