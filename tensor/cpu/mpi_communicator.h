// The communicator of MPI. All calls of MPI are made by one thread of its own, which also makes the
// collectives go on while the rank computes.
#pragma once

#include "tensor/communicator.h"

namespace nextgrad {

// Joins the processes of MPI's world. Only where this was built with MPI.
std::unique_ptr<Communicator> mpi_communicator();

}  // namespace nextgrad
