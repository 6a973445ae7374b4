// One launch of a kernel, for the program that is made of one kernel's source: see `launch.cpp`.
#pragma once

#include <type_traits>
#include <utility>

#include "cuda.h"

namespace emulation {

// Parameter `index` of the launch.
void* pointer(unsigned index, bool constant);
long long integer(unsigned index, bool wide);
float number(unsigned index);

// Whether the launch is one of the kernel of that name and number of parameters.
bool is_of(const char* name, unsigned parameters);

// Plays the launch with `thread` for each thread of it.
void play(void (*thread)());

template <typename T>
T argument(unsigned index) {
    if constexpr (std::is_pointer_v<T>) {
        return static_cast<T>(pointer(index, std::is_const_v<std::remove_pointer_t<T>>));
    } else if constexpr (std::is_integral_v<T>) {
        return static_cast<T>(integer(index, sizeof(T) == 8));
    } else {
        return number(index);
    }
}

template <auto KERNEL, typename... P, unsigned... INDEX>
void play_with(void (*)(P...), std::integer_sequence<unsigned, INDEX...>) {
    play([] { KERNEL(argument<P>(INDEX)...); });
}

// Plays the launch if it is one of this kernel.
template <auto KERNEL, typename... P>
void play_if(const char* name, void (*kernel)(P...)) {
    if (!is_of(name, sizeof...(P))) return;
    play_with<KERNEL>(kernel, std::make_integer_sequence<unsigned, sizeof...(P)>());
}

}  // namespace emulation

#define PLAY(NAME) emulation::play_if<NAME>(#NAME, NAME)

// To be defined beside the kernels: `PLAY` for each of them.
void play_kernels();
