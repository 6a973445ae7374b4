// How a launch plays its blocks: between `launch.cpp` and `block.cpp`.
#pragma once

#include <cstdint>
#include <vector>

#include "block.h"

namespace emulation {

// The order that is being played, for messages and for the poison.
extern unsigned order_number;

// Who is first: order 0 goes up, 1 goes down, every other number shuffles, each time anew.
class Order {
  public:
    explicit Order(unsigned number) : state(number) { order_number = number; }

    // The numbers from 0 to `count` - 1, in `indices`.
    const std::vector<unsigned>& of(unsigned count, std::vector<unsigned>& indices);

  private:
    unsigned next();

    uint64_t state;
};

// What each thread runs.
extern void (*kernel)();

// Makes the fibres of blocks of `blockDim`.
void make_threads();

// Plays the block that `blockIdx` names.
void play_block(Order& order);

}  // namespace emulation
