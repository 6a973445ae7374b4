// A block's threads as a kernel sees them: who it is, and where it waits for others. `block.cpp` plays them.
#pragma once

#include <cstdint>
#include <cstring>

struct Dimensions {
    unsigned x = 0, y = 0, z = 0;
};
extern Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

// Says what is wrong, and in which thread, and ends the program.
[[noreturn]] void fail(const char* format, ...);

// What a thread waits for.
enum class Wait { Turn, Exchange, Barrier, Forever };

// Gives the turn to other threads.
void pause(Wait wait);

// What each lane of a warp gave to an exchange.
struct Exchanged {
    unsigned mask;
    uint64_t values[32];

    template <typename T>
    T from(int lane) const {
        if (!(mask >> lane & 1)) fail("a lane's value is read that takes no part in the exchange: %d", lane);
        T value;
        memcpy(&value, &values[lane], sizeof value);
        return value;
    }
};

// Waits until all lanes of the mask are here. The result holds until the thread's next exchange.
const Exchanged& exchange_bits(unsigned mask, uint64_t given);

template <typename T>
const Exchanged& exchange(unsigned mask, T given) {
    static_assert(sizeof given <= sizeof(uint64_t), "");
    uint64_t bits = 0;
    memcpy(&bits, &given, sizeof given);
    return exchange_bits(mask, bits);
}

}  // namespace emulation
