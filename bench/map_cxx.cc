// map_cxx.cc - the map cases for the sides that are C++.
#include "map.c"
