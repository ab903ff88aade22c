"""Walk through a tower block by block with statistics of what each block really sees."""
